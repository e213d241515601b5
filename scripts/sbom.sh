#!/usr/bin/env bash
# Lists every package that the binary is made of, as CycloneDX 1.5: target/sbom/heldar.cdx.json
# Fails when a package is missing from the list that cargo links into the binary.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.5.9
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
folder=${CARGO_TARGET_DIR:-target}/sbom
if ! cargo cyclonedx --version 2>/dev/null | grep -q "$version"; then
    cargo install --quiet --locked --version "$version" cargo-cyclonedx
fi
mkdir -p "$folder"
# It writes beside the manifest of each package of the workspace that has a binary.
trap 'rm -f crates/*/*.cdx.json xtask/*.cdx.json' EXIT
cargo cyclonedx --quiet --manifest-path crates/heldar-server/Cargo.toml --format json --describe binaries --spec-version 1.5
mv crates/heldar-server/heldar_bin.cdx.json "$folder/heldar.cdx.json"
linked=$(cargo tree --locked --package heldar-server --edges normal --prefix none --format '{p}' | awk '$1 != "heldar-server" {print $1}' | sort -u)
missing=0
for package in $linked; do
    if ! grep -q "\"name\": \"$package\"" "$folder/heldar.cdx.json"; then
        printf 'sbom: %s is missing\n' "$package" >&2
        missing=1
    fi
done
printf 'sbom: %s packages in %s\n' "$(wc -w <<<"$linked")" "$folder/heldar.cdx.json"
exit "$missing"

#!/usr/bin/env bash
# Runs every fuzz target for some seconds: scripts/fuzz.sh [SECONDS [TARGET...]]
# Coverage counters come from the stable compiler; what a run learns is kept in target/fuzz, and a crash is left there as a file.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    for path in fuzz/targets/*.rs; do targets+=("$(basename "$path" .rs)"); done
fi
built=${CARGO_TARGET_DIR:-target}/fuzz
counters="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
counters+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
triple=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, macros and build scripts are built without the counters.
RUSTFLAGS=$counters cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target "$triple" --target-dir "$built"
for target in "${targets[@]}"; do
    printf 'fuzz: %s for %s s\n' "$target" "$seconds"
    mkdir -p "$built/corpus/$target"
    "$built/$triple/release/$target" -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="$built/$target-" "$built/corpus/$target" "fuzz/seeds/$target"
done

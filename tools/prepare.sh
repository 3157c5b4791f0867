# What tools/demo and tools/test share: the machine made ready, with a line for each step. Sourced, not run.
# shellcheck shell=bash

packages=(
	clang libelf-dev zlib1g-dev pkg-config make gcc g++ libc6-dev linux-libc-dev # to build
	iproute2 ethtool nftables procps                                          # to bring the lab up
	nginx-light perl-base socat curl iputils-ping tcpdump bird2               # what runs in it
	bpftool                                                                   # what tests look at the kernel with
	prometheus                                                                # what reads the metrics, and promtool
	chromium                                                                  # what the router's page is looked at in
	mmdebstrap rpm                                                            # a fresh Debian for what tools/package makes
	qemu-system-x86 busybox-static kmod                                       # the oldest kernel, for tools/kernel/run
)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() {
	printf '\033[1;31merror:\033[0m %s\n' "$*" >&2
	exit 2
}

# Rust is the one prerequisite: it is the user's choice how to have it.
require_rust() {
	command -v cargo >/dev/null ||
		fail "cargo is not here. Install Rust ${1} or later from https://rustup.rs (or your distribution), then run this again."
	local have
	have=$(rustc --version | cut -d' ' -f2)
	[ "$(printf '%s\n%s\n' "$1" "${have%%-*}" | sort --version-sort | head --lines=1)" = "$1" ] ||
		fail "Rust $have is too old: $1 or later is needed. \`rustup update stable\` brings it."
}

minimum_rust() { sed --quiet 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml"; }

require_root() {
	[ "$(id --user)" = 0 ] || fail "$1 needs root (namespaces, BPF). Run it as root."
}

# Debian's packages, only those that are missing. A daemon that a package would start is kept from starting.
install_packages() {
	local missing=() package
	for package in "${packages[@]}"; do
		dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep --quiet '^installed$' || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id --user)" = 0 ] || fail "these Debian packages are missing: ${missing[*]}. Install them, or run this as root."
	command -v apt-get >/dev/null || fail "no apt-get here; these are missing, under Debian's names: ${missing[*]}"
	say "installing Debian packages: ${missing[*]}"
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
		trap 'rm --force /usr/sbin/policy-rc.d' RETURN
	fi
	apt-get update --quiet=2
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}" >/dev/null
}

build() {
	say "building (a first build takes some minutes)"
	cargo build --release --workspace --manifest-path "$root/Cargo.toml" "$@"
}

# Everything of ours that could outlive a run: namespaces, pins, state, control groups, processes. What was there before a
# run is not of it: compare.
residue() {
	ip netns list 2>/dev/null | sed 's/ .*//; s/^/namespace /'
	find /sys/fs/bpf/slr* /sys/fs/bpf/hostd* /run/slr-lab -mindepth 1 -maxdepth 1 2>/dev/null | sed 's/^/file /' || true
	find /sys/fs/cgroup -maxdepth 2 -type d -name 'slr-lab*' 2>/dev/null | sed 's/^/control group /' || true
	ps -eo pid=,comm= | awk '$2 ~ /^(hostd|slr-router|slr-linkemu|probe)$/ { print "process " $1 " " $2 }'
}

# What the scenarios of the lab share; sourced by each command. `xtask drills` runs `probe drill` on a client of the lab,
# which says where things are: SLR_LAB_RUN and SLR_LAB_DIR. SLR_BIN is the directory of the programs.
set -o errexit -o nounset

bin=${SLR_BIN:-../../target/release}
sites=$SLR_LAB_DIR

lab() { verb=$1; shift; "$bin/lab" "$verb" --run "$SLR_LAB_RUN" "$@"; }
router() { node=$1; shift; "$bin/slr-router" "$@" --socket "$sites/$node.sock"; }
failed_now() { echo "failure at $(date +%s%6N)"; }
has_node() { "$bin/lab" exec --run "$SLR_LAB_RUN" "$1" -- true 2>/dev/null || { echo "this lab has no node $1" >&2; return 1; }; }

# retry SECONDS COMMAND...: until it succeeds, for a bounded time.
retry() {
	limit=$(($1 * 10)); shift
	for _ in $(seq "$limit"); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.1
	done
	echo "not within $((limit / 10)) s: $*" >&2
	return 1
}
# A spawn is refused until the process of that name before it has ended.
start_router() {
	retry 5 lab spawn "$1" slr-router -- "$bin/slr-router" run --config "$sites/$1.toml"
	retry 20 router "$1" show hops --json
}
kill_router() { lab signal "$1" slr-router SIGKILL; }
start_hostd() { retry 5 lab spawn "$1" hostd -- "$bin/hostd" run --config "$sites/$1.toml"; }
start_servers() {
	retry 5 lab spawn "$1" probe-serve -- "$bin/probe" serve --identity "$1" --http-port 8080 --udp-naive
}
# path RTT_MS LOSS_PERCENT: of the client's link, half of the time each way.
path() {
	half=$(awk "BEGIN { print (${1:-0}) / 2 }")
	"$bin/lab" link --run "$SLR_LAB_RUN" c1-internet --clear --delay "${half}ms" --loss "${2:-0}%"
}
# The router before two SLRs sends the virtual subnets to the second one, whatever BGP has told it: BIRD's routes have a greater
# metric. One command, so that both families move at the same time.
prefer_slr2() {
	lab exec internet -- sh -c '
		ip route replace 192.0.2.0/24 via 10.1.2.2 metric 10
		ip -6 route replace 2001:db8:100::/48 via fd00:1:2::2 metric 10'
}
prefer_slr2_no_more() {
	lab exec internet -- sh -c '
		ip route del 192.0.2.0/24 via 10.1.2.2 metric 10
		ip -6 route del 2001:db8:100::/48 via fd00:1:2::2 metric 10'
}
# The SLRs do not hear each other until they are joined again: what one tells of its flows does not reach the other.
part_slrs() { between_slrs add; }
join_slrs() { between_slrs del; }
between_slrs() {
	lab exec internet -- sh -c "
		for way in 'from 10.1.1.2 to 10.1.2.2' 'from 10.1.2.2 to 10.1.1.2'; do ip rule $1 \$way blackhole; done
		for way in 'from fd00:1:1::2 to fd00:1:2::2' 'from fd00:1:2::2 to fd00:1:1::2'; do ip -6 rule $1 \$way blackhole; done"
}
# flood RATE: from the other client, segments of connections that do not exist, so many a second, until flood_ends or for four
# minutes; once the preferred SLR searches for them.
flood() {
	retry 5 lab spawn c2 flood -- "$bin/xtask" flood c2 192.0.2.10:8080 '[2001:db8:100::10]:8080' --run "$SLR_LAB_RUN" \
		--rate "$1" --lasts 240 --seed "$PROBE_SEED"
	retry 10 floods slr1
}
flood_ends() { lab signal c2 flood SIGTERM; }
# Does an SLR get more orphans, whatever it does with them?
orphans() {
	router "$1" show recovery --json | tr -d ' \n' |
		sed -n 's/.*"orphans":{"chain":\([0-9]*\),"ring":\([0-9]*\),"dropped":\([0-9]*\),.*/\1 + \2 + \3/p'
}
floods() { before=$(($(orphans "$1"))); sleep 0.1; test $(($(orphans "$1"))) -gt $((before + 10)); }
# forge SLR RATE: forged answers to augmented echoes into that SLR, so many a second, until forge_ends or for four minutes; once it refuses
# nine tenths of them a second. They come from the wire itself: no client of the lab sends as many.
forge() {
	epoch=$(router "$1" show recovery --json | tr -d ' \n' | sed -n 's/.*"flow_epoch":\([0-9]*\).*/\1/p')
	retry 5 lab spawn "$1" forge -- "$bin/xtask" forge "$1" 10.0.101.9 192.0.2.10 --run "$SLR_LAB_RUN" \
		--rate "$2" --lasts 240 --epoch "$epoch"
	retry 10 forges "$1" $(($2 * 9 / 10))
}
forge_ends() { lab signal "$1" forge SIGTERM; }
forged() {
	router "$1" show counters --json | tr -d ' \n' | sed -n 's/.*"reason":"drop_advert_mac"[^}]*"packets":\([0-9]*\).*/\1/p'
}
# forges SLR RATE: does it refuse that many forged answers a second?
forges() {
	before=$(forged "$1"); sleep 1
	test $(($(forged "$1") - before)) -ge "$2"
}
# healthy: requests of the other client, which go through the second SLR all the time, whatever its flows of the first client meet; until
# healthy_ends, which tells how they fared and fails if one of them failed or was not answered within a second.
healthy() {
	between_c2_and_slr2 add
	retry 5 lab spawn c2 healthy -- "$bin/probe" run --target 192.0.2.10 --target 2001:db8:100::10 --http-port 8080 \
		--flow keepalive=50 --think 100ms --timeout 1s --duration 240s --json
	retry 10 pinned slr2 20
}
healthy_ends() {
	lab signal c2 healthy SIGINT
	retry 10 grep -q '^}' "$sites/log/c2.healthy.log"
	between_c2_and_slr2 del
	of_healthy() { tr -d ' \n' <"$sites/log/c2.healthy.log" | sed -n "s/.*\"total\":{[^}]*\"$1\":\([0-9]*\).*/\1/p"; }
	echo "healthy flows: $(of_healthy completed) went on to the end, $(of_healthy failed) failed" >&2
	sed -n '/"failures"/,/]/p' "$sites/log/c2.healthy.log" >&2
	test "$(of_healthy completed)" -gt 0 && test "$(of_healthy failed)" -eq 0
}
between_c2_and_slr2() {
	lab exec internet -- sh -c "
		ip rule $1 iif to-c2 lookup 77; ip route $1 192.0.2.0/24 via 10.1.2.2 table 77
		ip -6 rule $1 iif to-c2 lookup 77; ip -6 route $1 2001:db8:100::/48 via fd00:1:2::2 table 77"
}
pinned() { test "$(router "$1" show flows --json | grep -c '"pinned": *true')" -ge "$2"; }
slrs() { for slr in slr1 slr2; do if has_node "$slr" 2>/dev/null; then echo "$slr"; fi; done; }
# stalls MS: how long clients may be silent that owe something, at all hosts from now on; nothing: as it is configured.
stalls() {
	for config in "$sites"/h[0-9].toml; do
		host=$(basename "$config" .toml)
		sed '/^stall_ms = /d' "$config" >"$config.new"
		if [ -n "$1" ]; then sed -i "s/^\[\[subnet\]\]$/&\nstall_ms = $1/" "$config.new"; fi
		if cmp -s "$config" "$config.new"; then rm "$config.new"; continue; fi
		mv "$config.new" "$config"
		"$bin/hostd" reload --socket "$sites/$host.sock" >&2
	done
}
# rungs LIST: the rungs of recovery that the SLRs have from now on, of same-answer, mirror, chain, whohas (which is after a chain
# only) and echo (echo-20ms: with this threshold of a stall), with commas; or none. Without a rung for them, packets of flows that an SLR does not know are dropped there. The
# configuration of the start is kept beside; an empty LIST puts it in force again.
rungs() {
	orphan=drop mirror= ask=false echo= stall=
	for rung in $(echo "$1" | tr , ' '); do
		case $rung in
			none) ;;
			same-answer) if [ $orphan = drop ]; then orphan=ring; fi ;;
			chain) orphan= ;; # as it is configured: the default, or for UDP too (which asks others if whohas does)
			mirror) mirror=yes ;;
			whohas) ask=true ;;
			echo) echo=yes ;;
			echo-*ms) echo=yes stall=${rung#echo-} stall=${stall%ms} ;;
			*) echo "no rung is called $rung: there are same-answer, mirror, chain, whohas, echo, none" >&2; return 2 ;;
		esac
	done
	stalls "$stall"
	for slr in $(slrs); do
		config=$sites/$slr.toml
		if [ -z "$1" ]; then
			if [ -e "$config.whole" ]; then
				mv "$config.whole" "$config"
				router "$slr" reload >&2
			fi
			continue
		fi
		if [ ! -e "$config.whole" ]; then cp "$config" "$config.whole"; fi
		awk -v orphan=$orphan -v mirror=$mirror -v ask=$ask -v echo=$echo '
			/^\[/ { in_peer = $0 == "[[peer]]" }
			in_peer && !mirror || orphan && /^orphan = / || !echo && /^flow_secret = / { next }
			{ print }
			$0 == "[control]" { print "ask_others = " ask }
			orphan && $0 == "[[subnet]]" { print "orphan = \"" orphan "\"" }' "$config.whole" >"$config.new"
		mv "$config.new" "$config"
		router "$slr" reload >&2
	done
}
# How many flows each rung has saved so far, at each SLR that can be asked.
saved() {
	for slr in $(slrs); do
		{ router "$slr" show recovery --json 2>/dev/null || true; } | tr -d ' \n' |
			sed -n "s/.*\"rungs\":{\([^}]*\)}.*/\1/; s/_/-/g; s/\"\([^\"]*\)\":/\"$slr \1\": /gp"
		echo
	done | sed '/^$/d' | paste -s -d , | sed 's/.*/{&}/'
}

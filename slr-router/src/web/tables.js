// Tables that stay while their cells change: rows are kept by key, and only text that differs is written.
import { age, bits, count, element, STATES } from "./words.js";

/// Rows in the document at most: a browser lays out a few hundred of them twice a second without being felt.
const SHOWN_MAX = 200;

/// A table of `columns`: { title, of: row => text, sort?: row => value, number?, state?: row => state, press?: row => void }.
function table(node, key, columns, empty, order = null) {
	const kept = new Map();
	let rows = [], words = "", sorted = order, shown = 0, fitting = 0;
	const heads = columns.map((column, place) => {
		const button = element("button", { type: "button" }, column.title);
		button.addEventListener("click", () => {
			sorted = sorted?.place === place ? { place, down: !sorted.down } : { place, down: Boolean(column.number) };
			arrange();
		});
		return element("th", { scope: "col", ...(column.number ? { class: "number" } : {}) }, button);
	});
	const body = element("tbody", {});
	const nothing = element("tr", {}, element("td", { class: "none", colspan: columns.length }, empty));
	node.replaceChildren(element("thead", {}, element("tr", {}, ...heads)), body);

	function make(row) {
		const cells = columns.map((column) => {
			const cell = element("td", column.number ? { class: "number" } : {});
			if (column.press) {
				const button = element("button", { type: "button" });
				button.addEventListener("click", () => column.press(entry.row));
				cell.className = "name";
				cell.append(button);
			}
			return cell;
		});
		const entry = { row, cells, line: element("tr", { "data-key": row[key] }, ...cells) };
		return entry;
	}

	function fill(entry, row) {
		entry.row = row;
		columns.forEach((column, place) => {
			const cell = entry.cells[place], target = column.press ? cell.firstChild : cell, text = column.of(row);
			if (target.textContent !== text) target.textContent = text;
			if (column.state) {
				const name = `state ${column.state(row)}`;
				if (cell.className !== name) cell.className = name;
			}
		});
	}

	function arrange() {
		heads.forEach((head, place) => {
			if (sorted?.place === place) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
			else head.removeAttribute("aria-sort");
		});
		const fits = (row) => words === "" || columns.some((column) => column.of(row).toLowerCase().includes(words));
		const chosen = rows.filter(fits);
		fitting = chosen.length;
		if (sorted) {
			const by = columns[sorted.place].sort ?? columns[sorted.place].of, sign = sorted.down ? -1 : 1;
			const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a ?? "").localeCompare(String(b ?? ""), undefined, { numeric: true }));
			chosen.sort((a, b) => sign * compare(by(a), by(b)));
		}
		const visible = chosen.slice(0, SHOWN_MAX);
		shown = visible.length;
		const lines = visible.map((row) => {
			const entry = kept.get(row[key]) ?? make(row);
			kept.set(row[key], entry);
			fill(entry, row);
			return entry.line;
		});
		if (lines.length === 0) lines.push(nothing);
		// Lines that are in their place are not touched: whoever has the focus in one keeps it.
		lines.forEach((line, place) => {
			if (body.children[place] !== line) body.insertBefore(line, body.children[place] ?? null);
		});
		while (body.children.length > lines.length) body.lastChild.remove();
	}

	return {
		show(given) {
			rows = given;
			const present = new Set(given.map((row) => row[key]));
			for (const name of kept.keys()) if (!present.has(name)) kept.delete(name);
			arrange();
		},
		filter(text) {
			words = text.trim().toLowerCase();
			arrange();
		},
		counts: () => ({ shown, fitting, all: rows.length }),
	};
}

const traffic = [
	{ title: "packets/s", number: true, of: (row) => count(row.rate.packets), sort: (row) => row.rate.packets ?? -1 },
	{ title: "bit/s", number: true, of: (row) => bits(row.rate.bytes), sort: (row) => row.rate.bytes ?? -1 },
	{ title: "new flows/s", number: true, of: (row) => count(row.rate.flows), sort: (row) => row.rate.flows ?? -1 },
];

/// Packets are sent there: else its state is of no help.
const isReached = (host) => host.up;
/// Services of a host that are in another state than its best.
const others = (host) => {
	const count = host.services.filter((service) => service.state !== host.state).length;
	return count ? `, ${count} of ${host.services.length} services not` : "";
};
const worst = { down: 0, silent: 1, draining: 2, active: 3 };

export function hosts(node, select) {
	const state = (host) => host.state;
	return table(node, "name", [
		{ title: "host", of: (host) => host.name, press: (host) => select(host.name) },
		{ title: "state", of: (host) => `${STATES[host.state]?.shape ?? ""} ${host.state}${others(host)}${isReached(host) ? "" : ", not reached"}`, state, sort: (host) => worst[host.state] + (isReached(host) ? 0.5 : 0) },
		{ title: "why", of: (host) => host.reason },
		{ title: "for", number: true, of: (host) => age(host.for_s), sort: (host) => host.for_s ?? 1e12 },
		{ title: "share", number: true, of: (host) => `${Math.round(host.share * 10) / 10} %`, sort: (host) => host.share },
		...traffic,
		{ title: "flows", number: true, of: (host) => count(host.flows), sort: (host) => host.flows },
		{ title: "round trip", number: true, of: (host) => (host.rtt_us === null ? "–" : `${(host.rtt_us / 1000).toFixed(1)} ms`), sort: (host) => host.rtt_us ?? -1 },
	], "no host has connected yet", { place: 1, down: false });
}

export function subnets(node) {
	return table(node, "name", [
		{ title: "subnet", of: (subnet) => subnet.name },
		{ title: "prefix", of: (subnet) => subnet.prefix },
		{ title: "hosts active", number: true, of: (subnet) => `${subnet.active} of ${subnet.hosts}`, sort: (subnet) => subnet.active },
		...traffic,
	], "no virtual subnet is configured", { place: 2, down: false });
}

export function drops(node) {
	return table(node, "reason", [
		{ title: "reason", of: (drop) => drop.reason },
		{ title: "packets/s", number: true, of: (drop) => count(drop.rate), sort: (drop) => drop.rate ?? -1 },
		{ title: "in all", number: true, of: (drop) => count(drop.packets), sort: (drop) => drop.packets },
		{ title: "meaning", of: (drop) => drop.meaning },
		{ title: "what usually helps", of: (drop) => drop.remedy ?? "" },
	], "nothing was dropped", { place: 1, down: true });
}

const RUNGS = {
	mirror: "another member of the cluster had told of the flow",
	"same-answer": "the host that its slot has now had it",
	chain: "a host that its slot had before had it",
	whohas: "another router was asked",
	echo: "its host asked its client to carry the state",
};

export function recovery(node) {
	return table(node, "rung", [
		{ title: "rung", of: (row) => row.rung },
		{ title: "flows/s", number: true, of: (row) => count(row.rate), sort: (row) => row.rate ?? -1 },
		{ title: "flows", number: true, of: (row) => count(row.flows), sort: (row) => row.flows },
		{ title: "how", of: (row) => RUNGS[row.rung] ?? "" },
	], "nothing had to be brought back");
}

export function happenings(node) {
	return table(node, "place", [
		{ title: "when", of: (one) => new Date(one.at_ms).toLocaleTimeString("en-GB"), sort: (one) => one.at_ms },
		{ title: "whom", of: (one) => one.whom },
		{ title: "what", of: (one) => one.what },
	], "nothing since the daemon started");
}

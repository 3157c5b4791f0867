// The router, those around it, and its hosts with their rates. What it shows is in the tables too, for those who hear it read.
import { count, element, STATES } from "./words.js";

const WIDTH = 1200;
/// Hosts with a box of their own; more of them are small marks.
const BOXES_MAX = 24;

let drawn = "";

export function topology(node, overview) {
	const hosts = overview.hosts.filter((host) => host.role !== null);
	const parents = overview.routers.filter((router) => router.relation === "parent");
	const beside = overview.routers.filter((router) => router.relation !== "parent");
	const boxed = hosts.length <= BOXES_MAX;
	const seen = JSON.stringify([overview.router, overview.routers, hosts.map((host) => [host.name, host.state, host.up, boxed ? count(host.rate.packets) : 0])]);
	if (seen === drawn) return;
	drawn = seen;
	const shapes = [];
	const top = parents.length > 0 ? 70 : 0;
	spread(parents, 200, 14).forEach(([router, x]) => shapes.push(link(x + 90, 44, WIDTH / 2, top + 10, !router.connected), box(x, 4, 180, router.name, router.connected ? "parent" : "parent, not connected")));
	beside.forEach((router, place) => {
		const x = place % 2 === 0 ? 40 : WIDTH - 220, y = top + 10 + 50 * Math.floor(place / 2);
		shapes.push(link(x + 90, y + 20, WIDTH / 2, top + 30, !router.connected), box(x, y, 180, router.name, `${router.relation}${router.connected ? "" : ", not connected"}`));
	});
	const below = top + 60 + 50 * Math.max(0, Math.ceil(beside.length / 2) - 1);
	const height = below + 30 + (boxed ? boxes(shapes, hosts, below, top) : marks(shapes, hosts, below));
	shapes.push(box(WIDTH / 2 - 110, top + 10, 220, overview.router, `${count(hosts.reduce((all, host) => all + (host.rate.packets ?? 0), 0))} packets/s to ${hosts.length} hosts`));
	const states = Object.keys(STATES).map((state) => `${hosts.filter((host) => host.state === state).length} ${state}`);
	const label = `${overview.router}: ${parents.length} parents, ${beside.length} routers beside it, ${hosts.length} hosts: ${states.join(", ")}`;
	node.replaceChildren(element("svg:svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...shapes));
}

/// Things side by side in the middle: each with its x.
function spread(things, width, gap) {
	const begin = (WIDTH - things.length * (width + gap) + gap) / 2;
	return things.map((thing, place) => [thing, begin + place * (width + gap)]);
}

function boxes(shapes, hosts, y, top) {
	const across = Math.min(6, Math.max(1, hosts.length)), begin = (WIDTH - across * 200) / 2;
	hosts.forEach((host, place) => {
		const x = begin + (place % across) * 200 + 8, line = y + 36 + 62 * Math.floor(place / across);
		shapes.push(link(x + 90, line, WIDTH / 2, top + 50, !host.up));
		const shape = STATES[host.state]?.shape ?? "?";
		const words = `${host.state}${host.up ? "" : ", not reached"}, ${count(host.rate.packets)} packets/s`;
		shapes.push(box(x, line, 184, host.name, words, element("svg:text", { x: x + 166, y: line + 18, class: `mark ${host.state}` }, shape)));
	});
	return 14 + 62 * Math.ceil(hosts.length / across);
}

function marks(shapes, hosts, y) {
	const size = 18, across = Math.floor(WIDTH / size);
	hosts.forEach((host, place) => {
		const mark = element("svg:text", { x: (place % across) * size, y: y + 36 + size * Math.floor(place / across), class: `mark ${host.state}` }, STATES[host.state]?.shape ?? "?");
		mark.append(element("svg:title", {}, `${host.name}: ${host.state}, ${host.reason}`));
		shapes.push(mark);
	});
	return 36 + size * Math.ceil(hosts.length / across);
}

function box(x, y, width, name, words, ...more) {
	return element("svg:g", {}, element("svg:rect", { x, y, width, height: 44, rx: 4, class: "box" }), element("svg:text", { x: x + 10, y: y + 18 }, name), element("svg:text", { x: x + 10, y: y + 35, class: "faint" }, words), ...more);
}

function link(x1, y1, x2, y2, isCut) {
	return element("svg:line", { x1, y1, x2, y2, class: isCut ? "link cut" : "link" });
}

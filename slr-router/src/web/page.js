// The page: asks for the overview twice a second, makes rates of two of them, and draws what changed.
import { drops, happenings, hosts, recovery, subnets } from "./tables.js";
import { topology } from "./topology.js";
import { bits, count, element, STATES } from "./words.js";

const EVERY_MS = 500;
const HISTORY_EVERY_MS = 2000;
const PATIENCE_MS = 3000;
/// Rates are over so long at least: two answers half a second apart would jump.
const RATE_OVER_MS = 2000;

const byId = (id) => document.getElementById(id);
const tables = { hosts: hosts(byId("hosts-table"), select), subnets: subnets(byId("subnets-table")), drops: drops(byId("drops-table")), recovery: recovery(byId("recovery-table")), happenings: happenings(byId("happenings-table")) };
const earlier = [];
let answeredAt = 0;
let trouble = "";
let selected = null;
let newest = null;
let history = { every_s: 2, hosts: {} };

for (const name of ["hosts", "subnets"]) {
	byId(`${name}-filter`).addEventListener("input", (event) => {
		tables[name].filter(event.target.value);
		countRows(name);
	});
}
byId("legend").replaceChildren(...Object.entries(STATES).map(([state, { shape, means }]) => element("span", {}, element("span", { class: `state ${state}` }, `${shape} ${state}`), ` ${means}`)));

async function ask(path) {
	const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
	const body = await answer.json();
	if (!answer.ok) throw new Error(body.error);
	return body;
}

/// Rates between an overview and one that is RATE_OVER_MS older, or the oldest there is: a function of a row of each.
function rates(overview) {
	while (earlier.length > 1 && overview.at_ms - earlier[1].at_ms >= RATE_OVER_MS) earlier.shift();
	const before = earlier[0];
	earlier.push(overview);
	const seconds = before ? (overview.at_ms - before.at_ms) / 1000 : 0;
	const known = (list, key) => new Map((before?.[list] ?? []).map((row) => [row[key], row]));
	const maps = { hosts: known("hosts", "name"), subnets: known("subnets", "name"), reasons: known("reasons", "reason") };
	// A counter that went back belongs to a router that began anew.
	const grown = (now, old) => (seconds > 0 && now >= old ? (now - old) / seconds : null);
	const rate = (list, key, row, field) => grown(row[field], maps[list].get(row[key])?.[field]);
	rate.recovered = (rung) => grown(overview.recovered[rung], before?.recovered[rung]);
	return rate;
}

function draw(overview) {
	const rate = rates(overview);
	const sum = (list, key, field, wanted = () => true) => overview[list].filter(wanted).reduce((all, row) => all + (rate(list, key, row, field) ?? 0), 0);
	for (const host of overview.hosts) host.rate = { packets: rate("hosts", "name", host, "packets"), bytes: rate("hosts", "name", host, "bytes"), flows: rate("hosts", "name", host, "flows_placed") };
	for (const subnet of overview.subnets) subnet.rate = { packets: rate("subnets", "name", subnet, "packets"), bytes: rate("subnets", "name", subnet, "bytes"), flows: rate("subnets", "name", subnet, "flows_placed") };
	for (const reason of overview.reasons) reason.rate = rate("reasons", "reason", reason, "packets");
	document.title = `${overview.router} – slr-router`;
	byId("router").textContent = overview.router;
	byId("about").textContent = `${overview.tier} router, ${overview.software}`;
	const served = overview.hosts.filter((host) => host.role !== null);
	const active = served.filter((host) => host.state === "active" && host.up).length;
	totals({
		"hosts active": `${active} of ${served.length}`,
		"packets": `${count(sum("reasons", "reason", "packets"))}/s`,
		"to hosts": `${bits(sum("hosts", "name", "bytes"))}`,
		"new flows": `${count(sum("hosts", "name", "flows_placed"))}/s`,
		"drops": `${count(sum("reasons", "reason", "packets", (reason) => reason.verdict === "drop"))}/s`,
		"pinned flows": count(overview.flows),
	});
	byId("alarms").hidden = overview.alarms.length === 0;
	byId("alarms").replaceChildren(...overview.alarms.map((alarm) => element("p", {}, alarm)));
	topology(byId("topology"), overview);
	tables.hosts.show(overview.hosts);
	tables.subnets.show(overview.subnets);
	tables.drops.show(overview.reasons.filter((reason) => reason.verdict === "drop"));
	tables.recovery.show(Object.entries(overview.recovered).map(([rung, flows]) => ({ rung, flows, rate: rate.recovered(rung) })));
	tables.happenings.show(overview.happenings.map((one, place) => ({ ...one, place })));
	countRows("hosts");
	countRows("subnets");
	if (selected) detail();
}

function totals(values) {
	const list = byId("totals");
	if (list.childElementCount === 0) list.append(...Object.keys(values).map((name) => element("div", {}, element("dt", {}, name), element("dd", {}))));
	Object.values(values).forEach((value, place) => set(list.children[place].lastChild, value));
}

function set(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

function countRows(name) {
	const { shown, fitting, all } = tables[name].counts();
	const words = fitting === all ? `${all}` : `${fitting} of ${all} fit the filter`;
	const rest = shown < fitting ? `, the first ${shown} are shown: filter for the others` : "";
	set(byId(`${name}-count`), words + rest);
}

/// A host's services, and its share and cost over time.
function select(name) {
	selected = selected === name ? null : name;
	byId("host").hidden = selected === null;
	if (selected) {
		detail();
		byId("host").scrollIntoView({ block: "nearest" });
	}
}

function detail() {
	const host = newest.hosts.find((one) => one.name === selected);
	if (!host) return;
	const services = host.services.map((one) => element("tr", {}, element("td", {}, one.service), element("td", { class: `state ${one.state}` }, `${STATES[one.state]?.shape ?? ""} ${one.state}`), element("td", {}, one.reason), element("td", { class: "number" }, count(one.flows))));
	const loads = Object.entries(host.loads).map(([name, value]) => `${name} = ${Math.round(value * 1000) / 1000}`).join(", ");
	const series = history.hosts[selected] ?? { share: [], cost: [] };
	byId("host").replaceChildren(
		element("h3", {}, `${host.name} at ${host.address}`),
		element("p", {}, `${host.reason}. Loads: ${loads || "none told"}.`),
		element("table", {}, element("tbody", {}, ...services)),
		element("div", { class: "graphs" }, graph("share of new flows, %", series.share), graph("cost, as F makes it of loads", series.cost)),
	);
}

function graph(title, values) {
	const known = values.filter((value) => value !== null);
	const most = Math.max(1e-9, ...known);
	const points = values.map((value, place) => (value === null ? null : `${(100 * place) / Math.max(1, values.length - 1)},${40 - (38 * value) / most}`));
	const line = element("svg:polyline", { points: points.filter((point) => point !== null).join(" ") });
	const svg = element("svg:svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": `${title}: now ${known.at(-1) ?? "unknown"}` }, line);
	const minutes = Math.round((values.length * history.every_s) / 6) / 10;
	const words = known.length === 0 ? "nothing is known yet" : `now ${Math.round(known.at(-1) * 100) / 100}, at most ${Math.round(most * 100) / 100}, in ${minutes} min`;
	return element("figure", {}, svg, element("figcaption", {}, `${title}: ${words}`));
}

function status() {
	const age = Math.round((performance.now() - answeredAt) / 1000);
	const isStale = answeredAt === 0 || age > 2;
	byId("live").className = isStale ? "stale" : "";
	set(byId("live"), isStale ? `no answer for ${answeredAt ? age : "a while"} s: ${trouble || "the router is silent"}` : "live");
}

async function every(period, what) {
	for (;;) {
		const begun = performance.now();
		try {
			await what();
			trouble = "";
		} catch (error) {
			trouble = error.message;
		}
		status();
		await new Promise((resume) => setTimeout(resume, Math.max(50, period - (performance.now() - begun))));
	}
}

every(EVERY_MS, async () => {
	newest = await ask("/api/v1/overview");
	answeredAt = performance.now();
	draw(newest);
});
every(HISTORY_EVERY_MS, async () => {
	if (selected) history = await ask("/api/v1/history");
});

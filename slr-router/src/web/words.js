// Words, numbers and elements that all parts of the page share.

/// States, from well to not: each has a shape besides its colour.
export const STATES = {
	active: { shape: "●", means: "takes new flows" },
	draining: { shape: "◐", means: "keeps its flows, takes no new ones" },
	silent: { shape: "◇", means: "not heard or not reached: no new flows" },
	down: { shape: "✕", means: "its flows are given up" },
};

/// An element with attributes and children; `svg:` before the name for one of SVG. Text is never read as HTML.
export function element(name, attributes, ...children) {
	const [space, local] = name.startsWith("svg:") ? ["http://www.w3.org/2000/svg", name.slice(4)] : ["http://www.w3.org/1999/xhtml", name];
	const node = document.createElementNS(space, local);
	for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
	node.append(...children);
	return node;
}

/// 1234567 as 1.23 M.
export function count(value) {
	if (value === null || value === undefined) return "–";
	const [scaled, unit] = value >= 1e9 ? [value / 1e9, " G"] : value >= 1e6 ? [value / 1e6, " M"] : value >= 1e4 ? [value / 1e3, " k"] : [value, ""];
	return (scaled >= 100 || Number.isInteger(scaled) ? Math.round(scaled).toString() : scaled.toPrecision(3)) + unit;
}

/// Bytes a second as bits a second.
export function bits(bytes) {
	return bytes === null || bytes === undefined ? "–" : `${count(bytes * 8).replace(/^[0-9.]+$/, "$& ")}bit/s`;
}

/// Seconds, for people.
export function age(seconds) {
	if (seconds === null) return "–";
	if (seconds < 100) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
	return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 360) / 10} h`;
}

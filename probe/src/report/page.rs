//! The page: a summary, then each drill. No script, nothing from elsewhere; lines differ by dashes and fills by pattern.

use std::fmt::{Display, Write};

use super::{
    bars, ecdf,
    text::{Escaped, date},
    timeline,
};
use crate::{
    drill::result::{DrillReport, Pass},
    units::{show_count, show_us},
};

const STYLE: &str = "
body{font:15px/1.45 system-ui,sans-serif;color:#222;background:#fff;max-width:70em;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2.2em;border-top:1px solid #999;padding-top:.8em}h3{font-size:1em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.88em;margin:1em 0}
th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid #ccc;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal}thead th{border-bottom:2px solid #222;vertical-align:bottom}
tr.all td{font-weight:bold;border-top:1px solid #222}
svg{max-width:100%;height:auto;display:block}svg.key{display:inline-block;width:22px;height:12px;vertical-align:-1px}
svg text{font:12px system-ui,sans-serif;fill:#222}
.grid{stroke:#ddd;stroke-width:1}.main{fill:none;stroke:#14507a;stroke-width:2}
.null{fill:none;stroke:#777;stroke-width:1.5;stroke-dasharray:5 4}.mark{stroke:#a11;stroke-width:1.2;stroke-dasharray:2 3}
.legend span{display:inline-block;margin-right:1.4em;white-space:nowrap;font-size:.88em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1em;font-size:.88em}dt{color:#555}dd{margin:0;overflow-wrap:anywhere}
figure{margin:1em 0}figcaption{font-size:.88em;color:#444}.scroll{overflow-x:auto}
@media print{body{font-size:10pt;max-width:none;margin:0;padding:0}section,figure,table{break-inside:avoid}h2{break-after:avoid}
.scroll{overflow:visible}table{font-size:7.5pt}th,td{padding:.2em .35em}}
";

/// All drills as one document.
pub fn page(drills: &[DrillReport]) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
    let _ = write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>Failure drills</title>\
         <style>{STYLE}</style></head><body>{}<h1>Failure drills</h1>",
        bars::PATTERNS
    );
    out.push_str(
        "<p>Flows of several kinds were open when something was made to fail. A flow <b>survived</b> when the same server \
         process answered on, in sequence. Its <b>recovery time</b> is from the failure, or from the first thing that it \
         sent after the failure, to the first progress after that. <b>Without failure</b> is the same drill in which nothing \
         failed: round-trip time and measuring error.</p>",
    );
    summary(&mut out, drills);
    if drills.iter().any(|drill| drill.measured.is_some()) {
        let _ = write!(out, "<figure>{}</figure>", bars::bars(drills));
    }
    for drill in drills {
        section(&mut out, drill);
    }
    out + "</body></html>\n"
}

fn summary(out: &mut String, drills: &[DrillReport]) {
    let header = [
        "drill",
        "flows",
        "survived",
        "moved",
        "reset",
        "failed",
        "recovery p50",
        "p90",
        "p99",
        "max",
        "without failure p99",
        "new flows failed",
    ];
    head(out, &header);
    for drill in drills {
        let Some(pass) = drill.main() else { continue };
        let (total, recovery) = (&pass.total, &pass.total.recovery_us);
        let without = drill.null.as_ref().map_or("not made".to_owned(), |null| show_us(null.total.recovery_us.p99));
        let name =
            if drill.measured.is_some() { drill.title() } else { format!("{}, without its failure", drill.title()) };
        let mut cells = vec![name];
        cells.extend([total.flows, total.survived, total.moved, total.reset, total.failed].map(show_count));
        cells.extend([recovery.p50, recovery.p90, recovery.p99, recovery.max].map(|us| when(recovery.count, us)));
        cells.extend([
            without,
            format!("{} of {}", show_count(pass.new_flows.failed), show_count(pass.new_flows.started)),
        ]);
        row(out, "", &cells);
    }
    out.push_str("</tbody></table></div>");
}

fn section(out: &mut String, drill: &DrillReport) {
    let _ = write!(out, "<section><h2>{}</h2><p>{}</p>", Escaped(&drill.title()), Escaped(&drill.summary));
    if let Some(pass) = drill.main() {
        kinds(out, pass);
        let _ = write!(
            out,
            "<figure>{}<figcaption>{}: share of flows that had gone on. Solid: with the failure; dashed: without. Where the solid \
             line ends below 100 %, flows were lost.</figcaption></figure>",
            ecdf::ecdf(drill),
            Escaped(&drill.title())
        );
        let _ = write!(
            out,
            "<figure>{}<figcaption>{}: what arrived at the clients (of uploads: at the server), in steps of 100 ms.\
             </figcaption></figure>",
            timeline::timeline(&drill.title(), pass),
            Escaped(&drill.title())
        );
        facts(out, pass);
    }
    setup(out, drill);
    out.push_str("</section>");
}

fn kinds(out: &mut String, pass: &Pass) {
    let header = [
        "kind of flow",
        "flows",
        "survived",
        "moved",
        "reset",
        "failed",
        "untested",
        "recovery p50",
        "p90",
        "p99",
        "max",
        "longest wait p99",
        "datagrams lost",
        "segments resent",
    ];
    head(out, &header);
    let rows = pass.kinds.iter().map(|(kind, sums)| (kind.as_str(), "", sums)).chain([("all", "all", &pass.total)]);
    for (kind, class, sums) in rows {
        let (count, recovery) = (sums.recovery_us.count, &sums.recovery_us);
        let mut cells = vec![kind.to_owned()];
        cells.extend([sums.flows, sums.survived, sums.moved, sums.reset, sums.failed, sums.untested].map(show_count));
        let times = [recovery.p50, recovery.p90, recovery.p99, recovery.max, sums.wait_us.p99];
        cells.extend(times.map(|us| when(count, us)));
        cells.extend([sums.datagrams_lost, sums.segments_resent].map(show_count));
        row(out, class, &cells);
    }
    out.push_str("</tbody></table></div>");
}

fn facts(out: &mut String, pass: &Pass) {
    out.push_str("<h3>What else was seen</h3><dl>");
    let last =
        pass.new_flows.last_failed_us.map_or(String::new(), |us| format!("; the last began {} after it", show_us(us)));
    let new = format!("{} of {} failed{last}", show_count(pass.new_flows.failed), show_count(pass.new_flows.started));
    fact(out, "flows begun after the failure", new);
    if pass.total.end_us.count > 0 {
        let end = &pass.total.end_us;
        let ended = format!(
            "p50 {}, p99 {}, max {} after their first word since the failure",
            show_us(end.p50),
            show_us(end.p99),
            show_us(end.max)
        );
        fact(out, "lost flows ended", ended);
    }
    if pass.healed_us.is_some() {
        fact(out, "lost when what had failed came back", pass.total.lost_after_heal);
    }
    let saved: Vec<_> = pass.rungs_saved.flows.iter().map(|(rung, flows)| format!("{rung} {flows}")).collect();
    fact(
        out,
        "flows saved by each rung",
        pass.rungs_saved.not_told.as_ref().map_or(saved.join(", "), |why| format!("not told: {why}")),
    );
    fact(
        out,
        "failure known to within",
        show_us(pass.inject_took_us) + " (time its command took), or better if it said when",
    );
    let late = format!("p99 {}, max {}", show_us(pass.own_lateness_p99_us), show_us(pass.own_lateness_max_us));
    fact(out, "own lateness of the probe", late);
    for example in &pass.examples {
        fact(out, "for instance", example);
    }
    out.push_str("</dl>");
}

fn setup(out: &mut String, drill: &DrillReport) {
    let setup = &drill.setup;
    out.push_str("<h3>Set-up</h3><dl>");
    fact(out, "when", date(setup.started_at_unix_ms));
    fact(out, "machine", &setup.machine);
    fact(out, "kernel", &setup.kernel);
    fact(out, "probe", &setup.probe);
    fact(out, "way", &setup.way);
    if let Some(pass) = drill.null.as_ref().or(drill.measured.as_ref()) {
        fact(out, "time to connect, p50", show_us(pass.connect_p50_us));
        fact(out, "client addresses", pass.client_addresses);
    }
    fact(out, "targets", setup.targets.join(", "));
    fact(out, "seed", drill.seed);
    for (name, command) in [("inject", &setup.inject), ("heal", &setup.heal)] {
        if let Some(command) = command {
            fact(out, name, command);
        }
    }
    fact(out, "command line", &setup.command_line);
    out.push_str("</dl>");
}

fn fact(out: &mut String, name: &str, value: impl Display) {
    let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", Escaped(name), Escaped(&value.to_string()));
}

fn head(out: &mut String, cells: &[&str]) {
    out.push_str("<div class=\"scroll\"><table><thead><tr>");
    for cell in cells {
        let _ = write!(out, "<th>{}</th>", Escaped(&cell.replacen(' ', "\n", 1)).to_string().replace('\n', "<br/>"));
    }
    out.push_str("</tr></thead><tbody>");
}

fn row(out: &mut String, class: &str, cells: &[String]) {
    let _ = write!(out, "<tr class=\"{class}\">");
    for cell in cells {
        let _ = write!(out, "<td>{}</td>", Escaped(cell));
    }
    out.push_str("</tr>");
}

fn when(count: u64, us: u64) -> String {
    if count == 0 { "–".to_owned() } else { show_us(us) }
}

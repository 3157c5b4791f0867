//! Compiles the BPF programs, generates their skeletons, and turns the reason lists into Rust enums.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use libbpf_cargo::SkeletonBuilder;

/// Every program file, and so every skeleton.
const PROGRAMS: [&str; 5] = ["router", "host", "pass", "floor", "load"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    println!("cargo:rerun-if-changed=bpf");
    for program in PROGRAMS {
        compile(program, &out);
    }
    for (list, name) in [("router_reasons", "RouterReason"), ("host_reasons", "HostReason")] {
        let source = fs::read_to_string(format!("bpf/{list}.def")).expect("reason list exists");
        fs::write(out.join(format!("{list}.rs")), reasons(&source, name)).expect("OUT_DIR is writable");
    }
}

fn compile(program: &str, out: &Path) {
    // `-target bpf` does not know the multiarch folder that <linux/types.h> takes <asm/types.h> from.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target");
    let mut args = vec![
        "-mcpu=v3".to_owned(),
        "-Wall".to_owned(),
        "-Wextra".to_owned(),
        "-Werror".to_owned(),
        "-Wno-unused-parameter".to_owned(),
        "-Wno-unused-function".to_owned(),
        format!("-I/usr/include/{arch}-linux-gnu"),
    ];
    if env::var_os("CARGO_FEATURE_ABI_NEXT").is_some() {
        args.push("-DSLR_ABI_NEXT".to_owned());
    }
    let source = format!("bpf/{program}.bpf.c");
    if let Err(e) = SkeletonBuilder::new()
        .source(&source)
        .clang_args(args)
        .obj(out.join(format!("{program}.bpf.o")))
        .build_and_generate(out.join(format!("{program}.skel.rs")))
    {
        panic!(
            "{source} does not compile: {e:#}\nThe BPF programs need clang and libelf's headers: on Debian, `apt-get install clang libelf-dev \
             zlib1g-dev pkg-config make`."
        );
    }
}

/// One `REASON(number, name, verdict, "meaning")` a line; a continuation is not allowed, so that this stays a parser of
/// ten lines.
fn reasons(source: &str, name: &str) -> String {
    let rows: Vec<(&str, &str, &str, &str)> = source
        .lines()
        .filter_map(|line| line.strip_prefix("REASON("))
        .map(|row| {
            let (head, text) = row.split_once('"').expect("a reason has a meaning");
            let mut fields = head.split(',').map(str::trim);
            let mut next = || fields.next().expect("number, name, verdict");
            (next(), next(), next(), text.strip_suffix("\")").expect("the meaning ends the line"))
        })
        .collect();
    let mut rust = format!(
        "/// Generated from the program's reason list.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, \
         Hash)]\n#[repr(u32)]\npub enum {name} {{\n"
    );
    for (number, snake, _, text) in &rows {
        writeln!(rust, "    /// {text}.\n    {} = {number},", camel(snake)).expect("string");
    }
    writeln!(rust, "}}\nimpl {name} {{\n    /// Every reason, by number.\n    pub const ALL: &'static [Self] = &[")
        .expect("string");
    for (_, snake, ..) in &rows {
        writeln!(rust, "        Self::{},", camel(snake)).expect("string");
    }
    rust.push_str("    ];\n");
    rust.push_str(&table("name", "Its stable name, as counters and JSON show it", &rows, |r| format!("{:?}", r.1)));
    rust.push_str(&table("meaning", "What it means, for people", &rows, |r| format!("{:?}", r.3)));
    let mut verdicts = String::from(
        "    /// What was done with the packet.\n    pub fn verdict(self) -> Verdict {\n        match self {\n",
    );
    for r in &rows {
        writeln!(verdicts, "            Self::{} => Verdict::{},", camel(r.1), camel(&r.2.to_lowercase()))
            .expect("string");
    }
    rust.push_str(&verdicts);
    rust.push_str("        }\n    }\n}\n");
    rust
}

type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

fn table(function: &str, doc: &str, rows: &[Row<'_>], value: impl Fn(&Row<'_>) -> String) -> String {
    let mut rust = format!("    /// {doc}.\n    pub fn {function}(self) -> &'static str {{\n        match self {{\n");
    for row in rows {
        writeln!(rust, "            Self::{} => {},", camel(row.1), value(row)).expect("string");
    }
    rust.push_str("        }\n    }\n");
    rust
}

fn camel(snake: &str) -> String {
    snake.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

//! Results on stdout. A reader that goes away (`| head`) ends the program quietly, not with a panic.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Prints `text` and a line end, whole.
pub fn print(text: impl AsRef<str>) {
    let mut stdout = io::stdout().lock();
    let done =
        stdout.write_all(text.as_ref().as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    match done {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("cannot write the result to stdout: {error}");
            std::process::exit(2);
        }
    }
}

/// Prints an error with its causes, once, and the exit code for "it did not work": 2. (0 is yes, 1 is no.)
pub fn failure(program: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{program}: {error:#}");
    ExitCode::from(2)
}

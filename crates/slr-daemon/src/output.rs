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
    eprintln!("{program}: {}", chain(error));
    ExitCode::from(2)
}

/// An error and its causes in a line. A cause that the text before it already tells is not told twice.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        told if told.contains(&cause) => text,
        told => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_told_once() {
        let error = Err::<(), _>(io::Error::other("disk on fire")).context("cannot read x: disk on fire");
        let error = error.context("no configuration").unwrap_err();
        assert_eq!(chain(&error), "no configuration: cannot read x: disk on fire");
    }
}

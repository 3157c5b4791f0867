//! Man pages and shell completions of a program, made of its command line's own words: what `PROGRAM manual DIR` writes, and packages
//! install.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Administration commands.
const SECTION: &str = "8";
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes `man/PROGRAM.8`, a page for each of its commands (`man/PROGRAM-show.8`), and `completions/`, for bash, zsh and fish, into a folder
/// that need not be there.
pub fn write(command: Command, dir: &Path) -> io::Result<()> {
    let (pages, completions) = (dir.join("man"), dir.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    let name = command.get_name().to_owned();
    let mut complete = command.clone();
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut complete, &name, &completions)?;
    }
    let mut command = command.disable_help_subcommand(true);
    // Gives the commands below their full names: `hostd show` on the command line, hostd-show as a page.
    command.build();
    page(&command, &pages)
}

/// The page of a command, and of those below it.
fn page(command: &Command, dir: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut file = File::create(dir.join(format!("{name}.{SECTION}")))?;
    clap_mangen::Man::new(command.clone()).section(SECTION).render(&mut file)?;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| page(below, dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page_and_each_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        let show =
            Command::new("show").about("Show what is known").subcommand(Command::new("hosts").about("Next hops"));
        let hidden = Command::new("manual").hide(true);
        write(Command::new("hostd").about("Host daemon").subcommands([show, hidden]), dir.path()).unwrap();
        let names = |of: &str| {
            let mut names: Vec<String> = fs::read_dir(dir.path().join(of))
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("man"), ["hostd-show-hosts.8", "hostd-show.8", "hostd.8"]);
        assert_eq!(names("completions"), ["_hostd", "hostd.bash", "hostd.fish"]);
        let page = fs::read_to_string(dir.path().join("man/hostd-show.8")).unwrap();
        assert!(page.contains("Show what is known") && page.contains("hosts"), "{page}");
    }
}

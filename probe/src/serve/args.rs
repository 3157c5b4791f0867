//! Options of `probe serve`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use clap::Args;

use crate::units::parse_duration;

/// Serve HTTP, a TCP echo and a UDP echo that say in every answer who answered.
#[derive(Args, Debug)]
#[command(after_help = "\
Once every socket is bound, one JSON line on stdout says where: {\"identity\", \"http\", \"echo\", \"udp\"}.
It serves until SIGINT or SIGTERM.

Example: a server as naive as most, on every address of the machine
  probe serve --identity web1 --http-port 80 --udp-naive")]
pub struct ServeArgs {
    /// Name of this server; answers carry NAME/PID/START, so that a restarted server is another one
    #[arg(long, value_name = "NAME", default_value = "probe", value_parser = parse_name)]
    pub identity: String,

    /// Address to bind (repeatable) [default: 0.0.0.0 and ::]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<IpAddr>,

    /// Bind [::] alone, and serve IPv4 through it
    #[arg(long, conflicts_with = "listen")]
    pub dual_stack: bool,

    /// Port of the HTTP service; `none` leaves it out, 0 takes any free one
    #[arg(long, value_name = "PORT", default_value = "8080", value_parser = parse_port)]
    pub http_port: Port,

    /// Port of the TCP echo service; `none` leaves it out, 0 takes any free one
    #[arg(long, value_name = "PORT", default_value = "7007", value_parser = parse_port)]
    pub echo_port: Port,

    /// Port of the UDP echo service; `none` leaves it out, 0 takes any free one
    #[arg(long, value_name = "PORT", default_value = "7007", value_parser = parse_port)]
    pub udp_port: Port,

    /// Answer UDP by plain recvfrom and sendto, letting the kernel choose the source address, as most servers do
    /// (otherwise each answer leaves from the address that was asked)
    #[arg(long)]
    pub udp_naive: bool,

    /// Close a TCP connection on which nothing has moved for this long
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_duration)]
    pub idle_timeout: Duration,
}

impl ServeArgs {
    /// The addresses to bind.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match (self.dual_stack, self.listen.is_empty()) {
            (true, _) => vec![Ipv6Addr::UNSPECIFIED.into()],
            (false, true) => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            (false, false) => self.listen.clone(),
        }
    }
}

/// A port, or a service left out. (An alias, because clap would read a bare `Option` as "flag may be absent".)
pub type Port = std::option::Option<u16>;

fn parse_port(text: &str) -> Result<Port, String> {
    match text {
        "none" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| format!("`{text}` is no port: write 0 to 65535, or none")),
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    let good = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    match good {
        true => Ok(text.to_owned()),
        false => Err("a name is 1 to 128 visible ASCII characters without `/`".to_owned()),
    }
}

//! The command line: what can be asked for. Doc comments here are the help texts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use ipnet::IpNet;
use slr_ca::moment::parse_duration;
use slr_ca::{
    Authority, DEFAULT_CA_DAYS, DEFAULT_CRL_DAYS, DEFAULT_DAYS, IssueRequest, Issued, Moment, RevocationReason,
    RevokeWhat,
};
use slr_daemon::output::print;
use slr_model::{NodeName, Role, VirtualSubnet};

use crate::show;

/// Certificates for service level routing: who a node is, what it may use and advertise.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
pub struct Cli {
    /// The authority's folder. Keep it off the nodes, and in your backups.
    #[arg(long, global = true, value_name = "DIR", default_value = "/etc/slr/ca")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new authority: its key, its certificate, an empty revocation list.
    Init {
        /// What the nodes of this authority have in common: a domain name of yours.
        #[arg(long, value_name = "NAME")]
        trust_domain: String,
        /// How long the authority's certificate is valid, in days.
        #[arg(long, value_name = "N", default_value_t = DEFAULT_CA_DAYS)]
        days: u32,
        #[command(flatten)]
        crl: CrlOptions,
    },
    /// Write man pages and shell completions into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
    /// Issue a node's first certificate: NAME.pem, NAME-key.pem, ca.pem and crl.pem in a folder to copy to the node.
    Issue {
        /// What the node is: host, site, as or network.
        #[arg(long)]
        role: Role,
        /// Its name, of no other node.
        #[arg(long)]
        name: NodeName,
        /// A tunnel address of a host (/32 or /128), or a prefix from which an SLR sends tunnels. May be repeated.
        #[arg(long = "tunnel", value_name = "PREFIX", required = true)]
        tunnels: Vec<IpNet>,
        /// A virtual subnet that it may advertise. May be repeated.
        #[arg(long = "subnet", value_name = "PREFIX")]
        subnets: Vec<VirtualSubnet>,
        #[command(flatten)]
        validity: Validity,
        #[command(flatten)]
        out: Out,
    },
    /// Issue another certificate for a node; the earlier one stays valid until its end, so that nothing is dropped.
    Renew {
        /// The node.
        name: NodeName,
        /// Instead of the tunnels it had. May be repeated.
        #[arg(long = "tunnel", value_name = "PREFIX")]
        tunnels: Vec<IpNet>,
        /// Instead of the virtual subnets it had. May be repeated.
        #[arg(long = "subnet", value_name = "PREFIX")]
        subnets: Vec<VirtualSubnet>,
        #[command(flatten)]
        validity: Validity,
        #[command(flatten)]
        out: Out,
    },
    /// Revoke a node's certificates and sign the revocation list again. Copy crl.pem to every node.
    Revoke {
        /// The node: all of its certificates.
        #[arg(required_unless_present = "serial", conflicts_with = "serial")]
        name: Option<NodeName>,
        /// One certificate, by its number as `show` prints it.
        #[arg(long, value_name = "HEX")]
        serial: Option<String>,
        /// Why, for whoever reads the list.
        #[arg(long, value_enum, default_value = "unspecified")]
        reason: RevocationReason,
        #[command(flatten)]
        crl: CrlOptions,
        /// Copy the new list into this folder too. May be repeated.
        #[arg(long = "out", value_name = "DIR")]
        outs: Vec<PathBuf>,
    },
    /// Sign the revocation list again, unchanged, before its next update is due. For a monthly job.
    SignCrl {
        #[command(flatten)]
        crl: CrlOptions,
        /// Copy the new list into this folder too. May be repeated.
        #[arg(long = "out", value_name = "DIR")]
        outs: Vec<PathBuf>,
    },
    /// Make the secret that all routers of the trust domain share, so that they believe what hosts say of their flows by way of the
    /// clients. Copy it to the routers, never to a host.
    FlowSecret {
        /// The new file.
        file: PathBuf,
    },
    /// Show what was issued and when it ends, or what one certificate file says.
    Show {
        /// A certificate file. Without it, everything in the authority's folder.
        file: Option<PathBuf>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
}

/// How long a node's certificate is valid.
#[derive(Debug, Args)]
struct Validity {
    /// How long it is valid, in days.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS)]
    days: u32,
    /// The same with a unit of choice: 12h, 30m, 5s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "days")]
    valid_for: Option<Duration>,
}

impl Validity {
    fn duration(&self) -> Duration {
        self.valid_for.unwrap_or(days(self.days))
    }
}

/// How long a revocation list is good.
#[derive(Debug, Args)]
struct CrlOptions {
    /// Days until the revocation list must be signed again. Nodes warn when it is late.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CRL_DAYS)]
    crl_days: u32,
}

/// Where a node's files go.
#[derive(Debug, Args)]
struct Out {
    /// The folder for the files; made if missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 86_400)
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<()> {
        let dir = &self.dir;
        match self.command {
            Command::Init { trust_domain, days: count, crl } => {
                Authority::init(dir, &trust_domain, days(count), days(crl.crl_days))?;
                print(format!(
                    "{}: authority of {trust_domain}. Its key, ca-key.pem, stays here; next: slr-ca issue",
                    dir.display()
                ));
            }
            Command::Manual { folder } => slr_manual::write(<Self as CommandFactory>::command(), &folder)?,
            Command::Issue { role, name, tunnels, subnets, validity, out } => {
                let valid_for = validity.duration();
                let request = IssueRequest { role, name, tunnels, subnets, valid_for, now: Moment::now() };
                print_issued(&Authority::open(dir)?.issue(request, &out.out)?);
            }
            Command::Renew { name, tunnels, subnets, validity, out } => {
                let tunnels = (!tunnels.is_empty()).then_some(tunnels);
                let subnets = (!subnets.is_empty()).then_some(subnets);
                let mut authority = Authority::open(dir)?;
                print_issued(&authority.renew(&name, tunnels, subnets, validity.duration(), &out.out)?);
            }
            Command::Revoke { name, serial, reason, crl, outs } => {
                let what = match (name, serial) {
                    (_, Some(serial)) => RevokeWhat::Serial(serial),
                    (Some(name), None) => RevokeWhat::Name(name),
                    (None, None) => unreachable!("clap asks for one of them"),
                };
                let mut authority = Authority::open(dir)?;
                for entry in authority.revoke(&what, reason, days(crl.crl_days))? {
                    print(format!("{} {} serial {} is revoked", entry.role, entry.name, entry.serial));
                }
                hand_out(&authority, &outs)?;
            }
            Command::SignCrl { crl, outs } => {
                let mut authority = Authority::open(dir)?;
                authority.sign_crl(days(crl.crl_days))?;
                hand_out(&authority, &outs)?;
            }
            Command::FlowSecret { file } => {
                slr_ca::make_flow_secret(&file)?;
                print(format!("{}: copy it to all routers, and name it there: [control] flow_secret", file.display()));
            }
            Command::Show { file: Some(file), json } => show::file(&file, json)?,
            Command::Show { file: None, json } => show::folder(dir, json)?,
        }
        Ok(())
    }
}

fn print_issued(issued: &Issued) {
    let entry = &issued.entry;
    print(format!(
        "{} {} serial {} is valid until {}: {} and {}",
        entry.role,
        entry.name,
        entry.serial,
        entry.not_after,
        issued.certificate.display(),
        issued.key.display()
    ));
}

fn hand_out(authority: &Authority, outs: &[PathBuf]) -> Result<()> {
    outs.iter().try_for_each(|out| authority.copy_crl(out))?;
    let list = authority.path().join(slr_ca::CRL_FILE);
    print(format!(
        "{} is number {}, due again before {}; copy it to every node, they notice within a second",
        list.display(),
        authority.index().crl_number,
        authority.index().crl_next_update
    ));
    Ok(())
}

//! Each command: a request or two, and its output.

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::CommandFactory;
use weft_ipc::{Client, ClientError, Request, Response};
use weft_model::{DnsLogNews, Secret, State, Stats, Status};
use zeroize::Zeroizing;

use crate::args::{Args, Command, Counters, Dns, Fallback, Registration};
use crate::fault::Fault;
use crate::{diag, dns, output, record_type, render};

/// The most bytes of a token or a wg-quick file.
const MAX_FILE: u64 = 256 * 1024;
/// How long a disconnect may take.
const DISCONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Runs one command.
pub(crate) fn run(args: Args) -> Result<(), Fault> {
    let Args { socket, json, command } = args;
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "weft", &mut script);
        return Ok(io::Write::write_all(&mut io::stdout().lock(), &script)?);
    }
    // What the user got wrong is said before the daemon is asked for.
    let request = first_request(&command)?;
    let mut client = Client::connect(&socket)?;
    let answer = client.request(&request)?;
    match command {
        Command::Connect { wait: Some(seconds) } => {
            let within = Duration::from_secs(seconds);
            let status = wait_for(&mut client, State::Connected, "connected", within)?;
            Ok(output::print(json, &*status, render::status)?)
        }
        Command::Disconnect => {
            wait_for(&mut client, State::Disconnected, "disconnected", DISCONNECT_WITHIN)?;
            Ok(output::success(json, &[])?)
        }
        Command::Diag { output } => match answer {
            Response::Diagnostics(diagnostics) => diag::write(&diagnostics, output, json),
            _ => Err(ClientError::Unexpected.into()),
        },
        Command::Tunnel(Counters::Stats) => {
            stats(&answer, |stats| output::print(json, &stats.tunnel, render::tunnel_stats))
        }
        Command::Dns(Dns::Stats) => stats(&answer, |stats| output::print(json, &stats.dns, dns::stats)),
        Command::Dns(Dns::Query { .. }) => match answer {
            Response::DnsLookup(lookup) => {
                output::print(json, &*lookup, dns::lookup)?;
                Fault::of_rcode(&lookup.rcode).map_or(Ok(()), Err)
            }
            _ => Err(ClientError::Unexpected.into()),
        },
        Command::Dns(Dns::Log { follow: true, on, lines, .. }) => {
            let answer = if on { client.request(&Request::DnsLogFollow { entries: lines })? } else { answer };
            follow_dns_log(client, answer, json)
        }
        Command::Status { listen: true } | Command::Log { follow: true, .. } => {
            print(json, &answer)?;
            loop {
                print(json, &client.next_response(None)?)?;
            }
        }
        _ => print(json, &answer),
    }
}

/// What a command asks first.
fn first_request(command: &Command) -> Result<Request, Fault> {
    Ok(match command {
        Command::Connect { .. } => Request::Connect,
        Command::Disconnect => Request::Disconnect,
        Command::Status { listen: true } => Request::Subscribe,
        Command::Status { listen: false } => Request::Status,
        Command::Settings { refresh: true } => Request::RefreshProfile,
        Command::Settings { refresh: false } => Request::Settings,
        Command::Mode { mode } => {
            Request::SetMode { mode: mode.parse().map_err(|error| Fault::Usage(format!("{error}")))? }
        }
        Command::Tunnel(Counters::Stats) => Request::Stats,
        Command::Dns(dns) => dns_request(dns)?,
        Command::Diag { .. } => Request::Diagnostics,
        Command::Log { follow, lines } => Request::Log { lines: *lines, follow: *follow },
        Command::Registration(registration) => registration_request(registration)?,
        Command::Completions { .. } => {
            return Err(Fault::Usage("completions ask nothing of weftd".to_owned()));
        }
    })
}

fn dns_request(dns: &Dns) -> Result<Request, Fault> {
    Ok(match dns {
        Dns::Stats => Request::Stats,
        Dns::Status => Request::DnsStatus,
        Dns::Log { follow: true, on: false, lines, .. } => Request::DnsLogFollow { entries: *lines },
        Dns::Log { on, off, .. } => Request::DnsLog { enable: (*on || *off).then_some(*on) },
        Dns::Fallback(Fallback::List) => Request::DnsFallback,
        Dns::Query { name, kind } => {
            let wrong = |error: &dyn std::fmt::Display| Fault::Usage(error.to_string());
            let name = name.parse().map_err(|error| wrong(&error))?;
            Request::DnsLookup { name, kind: record_type::parse(kind).map_err(|error| wrong(&error))? }
        }
        Dns::Flush => Request::DnsFlush,
    })
}

fn registration_request(registration: &Registration) -> Result<Request, Fault> {
    Ok(match registration {
        Registration::Show => Request::Registration,
        Registration::Delete => Request::DeleteRegistration,
        Registration::New { url, token, token_file, ca_fingerprint, name } => {
            let token = match (token, token_file) {
                (Some(token), _) => Zeroizing::new(token.clone()),
                (None, Some(file)) => read(file)?,
                (None, None) => return Err(Fault::Usage("--token or --token-file is missing".to_owned())),
            };
            let token = Secret::from(token.trim().to_owned());
            if token.expose().is_empty() {
                return Err(Fault::Usage("the enrolment token is empty".to_owned()));
            }
            Request::Register {
                url: url.clone(),
                token,
                ca_fingerprint: ca_fingerprint.clone(),
                name: name.clone(),
            }
        }
        Registration::Import { file, name } => {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-");
            let name = name.as_deref().or(stem);
            let name = name.ok_or_else(|| Fault::Usage("--name is missing".to_owned()))?.to_owned();
            Request::ImportRegistration { name, text: Secret::from(read(file)?.to_string()) }
        }
    })
}

/// The text of a file that holds a secret; `-` is the standard input.
fn read(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let fault = |error| Fault::File { path: path.to_owned(), error };
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(fault)?)
    };
    source.take(MAX_FILE + 1).read_to_string(&mut text).map_err(fault)?;
    if text.len() as u64 > MAX_FILE {
        return Err(fault(io::Error::other(format!("the file is larger than {MAX_FILE} bytes"))));
    }
    Ok(text)
}

fn stats(answer: &Response, show: impl FnOnce(&Stats) -> io::Result<()>) -> Result<(), Fault> {
    match answer {
        Response::Stats(stats) => Ok(show(stats)?),
        _ => Err(ClientError::Unexpected.into()),
    }
}

fn print(json: bool, answer: &Response) -> Result<(), Fault> {
    let printed = match answer {
        Response::Done => output::success(json, &[]),
        Response::Noted(notes) => output::success(json, notes),
        Response::Status(status) => output::print(json, &**status, render::status),
        Response::Settings(settings) => output::print(json, &**settings, render::settings),
        Response::Registration(registration) => output::print(json, &**registration, render::registration),
        Response::Log(lines) => lines.iter().try_for_each(|line| output::print(json, line, render::log_line)),
        Response::DnsStatus(status) => output::print(json, &**status, dns::status),
        Response::DnsFallback(fallback) => output::print(json, &**fallback, dns::fallback),
        Response::DnsLog(log) => output::print(json, &**log, dns::log),
        Response::Stats(_)
        | Response::Diagnostics(_)
        | Response::DnsLookup(_)
        | Response::DnsLogNews(_)
        | Response::Failure(_) => {
            return Err(ClientError::Unexpected.into());
        }
    };
    Ok(printed?)
}

/// Prints what is new in the DNS log, until the daemon ends: the queries on the standard output, what is to be known of
/// them on the error output.
fn follow_dns_log(mut client: Client, first: Response, json: bool) -> Result<(), Fault> {
    let (mut answer, mut was_on) = (first, true);
    loop {
        let Response::DnsLogNews(news) = answer else { return Err(ClientError::Unexpected.into()) };
        let DnsLogNews { on, missed, entries } = *news;
        if missed > 0 {
            output::note(json, &format!("{missed} queries are not shown: too many came at once"));
        }
        entries.iter().try_for_each(|entry| output::print(json, entry, dns::log_entry))?;
        if was_on && !on {
            output::note(json, dns::FOLLOWED_LOG_IS_OFF);
        }
        was_on = on;
        answer = client.next_response(None)?;
    }
}

/// Watches the state until it is `state`. A state that the daemon cannot leave by itself ends the wait.
fn wait_for(
    client: &mut Client,
    state: State,
    wanted: &'static str,
    within: Duration,
) -> Result<Box<Status>, Fault> {
    let deadline = Instant::now() + within;
    let mut answer = client.request(&Request::Subscribe)?;
    loop {
        let Response::Status(status) = answer else { return Err(ClientError::Unexpected.into()) };
        if status.state == state {
            return Ok(status);
        }
        if status.state == State::Unable && state == State::Connected {
            let within = "by itself".to_owned();
            return Err(Fault::NotReached { wanted, within, last: Some(status) });
        }
        answer = match client.next_response(Some(deadline)) {
            Ok(answer) => answer,
            Err(ClientError::TimedOut) => {
                let within = format!("within {} s", within.as_secs());
                return Err(Fault::NotReached { wanted, within, last: Some(status) });
            }
            Err(error) => return Err(error.into()),
        };
    }
}

//! How the processes find each other.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Patience;
use super::wire::{Message, hear, lost, say};
use crate::distributed::Launch;
use crate::{Error, Result};

/// How long a stranger may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// How often a listener looks whether somebody has come.
const LOOK: Duration = Duration::from_millis(5);

/// Where rank 0 waits.
pub(in crate::distributed) struct Place {
    host: String,
    port: u16,
}

/// A rank's two connections.
pub(super) struct Links {
    /// To the next rank.
    pub(super) next: TcpStream,
    /// From the rank before.
    pub(super) last: TcpStream,
}

impl Place {
    pub(in crate::distributed) fn of(launch: &Launch) -> Result<Self> {
        if launch.world_size < 2 {
            return Err(Error::Usage(
                "a single process has nobody to meet over TCP".to_owned(),
            ));
        }
        let Some(host) = launch.master_addr.clone() else {
            return Err(Error::Usage(format!(
                "{} does not say where rank 0 is: set MASTER_ADDR to the name or address of its \
                 machine",
                launch.launcher
            )));
        };
        let port = launch.master_port;
        Ok(Self { host, port })
    }

    /// This machine only where the address is a loopback one; otherwise every interface, since a
    /// machine often knows itself under a loopback address that no other can reach.
    fn bind(&self) -> Result<TcpListener> {
        let ip = match self.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => ip,
            Ok(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ if self.host == "localhost" => Ipv4Addr::LOCALHOST.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        TcpListener::bind((ip, self.port)).map_err(|error| {
            let mend = match error.kind() {
                ErrorKind::AddrInUse => {
                    "; another run on this machine may use it: set MASTER_PORT to a free one"
                }
                _ => "",
            };
            Error::Run(format!(
                "rank 0 cannot wait for the other processes at {ip} port {}: {error}{mend}",
                self.port
            ))
        })
    }

    fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        // Rank 0 waits on IPv4 unless the address is an IPv6 one.
        let mut found: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        Ok(found)
    }

    /// Tries until rank 0 is there.
    fn connect(&self, deadline: Instant) -> Result<TcpStream> {
        let mut pause = Duration::from_millis(10);
        let mut reason = "no address found".to_owned();
        loop {
            match self.addresses() {
                Err(error) => reason = error.to_string(),
                Ok(addresses) => {
                    for address in addresses {
                        match TcpStream::connect_timeout(&address, HELLO) {
                            Ok(stream) => return Ok(stream),
                            Err(error) => reason = error.to_string(),
                        }
                    }
                }
            }
            if Instant::now() + pause > deadline {
                return Err(Error::Run(format!(
                    "rank 0 cannot be reached at {} port {}: {reason}; check that it was started \
                     and that MASTER_ADDR and MASTER_PORT are the same for all processes",
                    self.host, self.port
                )));
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
}

/// Brings all processes together.
pub(super) fn meet(place: &Place, launch: &Launch, patience: Patience) -> Result<Links> {
    let deadline = Instant::now() + patience.start;
    if launch.rank == 0 {
        host(place, launch, deadline)
    } else {
        visit(place, launch, deadline)
    }
}

struct Visitor {
    stream: TcpStream,
    address: SocketAddr,
}

fn host(place: &Place, launch: &Launch, deadline: Instant) -> Result<Links> {
    let listener = place.bind()?;
    let mut visitors: Vec<Option<Visitor>> = (1..launch.world_size).map(|_| None).collect();
    let mut refused = Vec::new();
    while visitors.iter().any(Option::is_none) {
        let Some(mut stream) = accept(&listener, deadline)? else {
            return Err(missing(&visitors, &refused));
        };
        match greet(&mut stream, launch, &visitors) {
            Ok((rank, address)) => visitors[rank - 1] = Some(Visitor { stream, address }),
            Err(reason) => {
                tracing::warn!("somebody was refused at the meeting: {reason}");
                // Whoever it was may be gone already.
                let _ = say(
                    &mut stream,
                    &Message::Refused {
                        reason: reason.clone(),
                    },
                );
                refused.push(reason);
            }
        }
    }
    let nonce = RandomState::new().build_hasher().finish();
    let addresses: Vec<_> = visitors.iter().flatten().map(|v| v.address).collect();
    let welcome = Message::Welcome {
        nonce,
        addresses: addresses.clone(),
    };
    for (i, visitor) in visitors.iter_mut().flatten().enumerate() {
        say(&mut visitor.stream, &welcome).map_err(|e| lost(i + 1, HELLO, &e))?;
    }
    let next = link(&addresses[..1], 1, launch, nonce)?;
    let last = accept_link(&listener, launch, nonce, deadline)?;
    Ok(Links { next, last })
}

/// Who came, and where it waits for the rank before it; or why it is not welcome.
fn greet(
    stream: &mut TcpStream,
    launch: &Launch,
    visitors: &[Option<Visitor>],
) -> std::result::Result<(usize, SocketAddr), String> {
    let own = env!("CARGO_PKG_VERSION");
    let peer = stream.peer_addr().map_err(|e| e.to_string())?;
    let Ok(Message::Hello {
        version,
        job,
        rank,
        world_size,
        port,
    }) = hear(stream)
    else {
        return Err(format!("{peer} is not a process of this program"));
    };
    if job != launch.job {
        return Err(format!(
            "process {rank} belongs to job {job:?}, rank 0 to job {:?}: set MASTER_PORT to another \
             port for one of them",
            launch.job
        ));
    }
    if version != own {
        return Err(format!(
            "process {rank} has version {version}, rank 0 has {own}"
        ));
    }
    if world_size != launch.world_size {
        return Err(format!(
            "process {rank} was told of {world_size} processes, rank 0 of {}",
            launch.world_size
        ));
    }
    match rank.checked_sub(1).and_then(|i| visitors.get(i)) {
        Some(None) => Ok((rank, SocketAddr::new(peer.ip(), port))),
        _ => Err(format!("there are two processes with rank {rank}")),
    }
}

fn missing(visitors: &[Option<Visitor>], refused: &[String]) -> Error {
    let absent = visitors.iter().enumerate().filter(|(_, v)| v.is_none());
    let absent: Vec<_> = absent.map(|(i, _)| (i + 1).to_string()).collect();
    let refused = match refused.last() {
        None => String::new(),
        Some(reason) => format!("; refused: {reason}"),
    };
    Error::Run(format!(
        "of {} processes, these have not come to rank 0 in time: {}{refused}; see their own \
         messages",
        visitors.len() + 1,
        absent.join(", ")
    ))
}

fn visit(place: &Place, launch: &Launch, deadline: Instant) -> Result<Links> {
    let mut stream = place.connect(deadline)?;
    let failed = |error: std::io::Error| Error::Run(format!("no meeting with rank 0: {error}"));
    let own = stream.local_addr().map_err(failed)?;
    let listener = TcpListener::bind((own.ip(), 0)).map_err(failed)?;
    let hello = Message::Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        job: launch.job.clone(),
        rank: launch.rank,
        world_size: launch.world_size,
        port: listener.local_addr().map_err(failed)?.port(),
    };
    say(&mut stream, &hello).map_err(failed)?;
    // Rank 0 waits for the others, and may have begun to wait a little later than this process.
    let rest = deadline.saturating_duration_since(Instant::now()) + HELLO;
    stream.set_read_timeout(Some(rest)).map_err(failed)?;
    let (nonce, addresses) = match hear(&mut stream) {
        Ok(Message::Welcome { nonce, addresses }) => (nonce, addresses),
        Ok(Message::Refused { reason }) => {
            return Err(Error::Run(format!("rank 0 refused this process: {reason}")));
        }
        Ok(_) => return Err(failed(ErrorKind::InvalidData.into())),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(Error::Run(format!(
                "what answers at {} port {} is not rank 0: set MASTER_PORT to a free port",
                place.host, place.port
            )));
        }
        Err(error) => return Err(lost(0, rest, &error)),
    };
    let next = launch.rank + 1;
    let next = match addresses.get(next - 1) {
        Some(address) => link(&[*address], next, launch, nonce)?,
        None => link(&[stream.peer_addr().map_err(failed)?], 0, launch, nonce)?,
    };
    let deadline = Instant::now() + rest;
    let last = accept_link(&listener, launch, nonce, deadline)?;
    Ok(Links { next, last })
}

/// Connects to the next rank, which waits already.
fn link(address: &[SocketAddr], rank: usize, launch: &Launch, nonce: u64) -> Result<TcpStream> {
    let failed = |error: std::io::Error| {
        Error::Run(format!(
            "process {} cannot reach process {rank} at {address:?}: {error}; all machines of a run \
             have to reach each other on every port",
            launch.rank
        ))
    };
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    let rank = launch.rank;
    say(&mut stream, &Message::Link { nonce, rank }).map_err(failed)?;
    Ok(stream)
}

/// Waits for the rank before this one; drops whoever else comes.
fn accept_link(
    listener: &TcpListener,
    launch: &Launch,
    nonce: u64,
    deadline: Instant,
) -> Result<TcpStream> {
    let last = (launch.rank + launch.world_size - 1) % launch.world_size;
    loop {
        let Some(mut stream) = accept(listener, deadline)? else {
            return Err(Error::Run(format!(
                "process {last} has met rank 0 but not connected to process {} in time; all \
                 machines of a run have to reach each other on every port",
                launch.rank
            )));
        };
        match hear(&mut stream) {
            Ok(Message::Link { nonce: n, rank }) if (n, rank) == (nonce, last) => {
                return Ok(stream);
            }
            _ => tracing::warn!("somebody else came instead of process {last}"),
        }
    }
}

/// The next connection, or `None` after the deadline.
fn accept(listener: &TcpListener, deadline: Instant) -> Result<Option<TcpStream>> {
    let failed = |error| Error::Run(format!("cannot wait for the other processes: {error}"));
    listener.set_nonblocking(true).map_err(failed)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(failed)?;
                stream.set_read_timeout(Some(HELLO)).map_err(failed)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // One that left before it was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        sleep(LOOK);
    }
}

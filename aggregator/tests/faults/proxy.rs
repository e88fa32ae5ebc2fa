//! A TCP proxy that is bad on demand: it stands between the agent and the aggregator and does to their bytes what a
//! network does.
//!
//! A TCP stream out of which bytes have fallen can never go on. So a flow that was [`Flow::Lost`] ends its connection by
//! a reset when it heals, as a NAT that has forgotten a connection does; one that was [`Flow::Held`] goes on, as TCP does
//! after a partition. Connections that come meanwhile wait. One that is [forgotten](Proxy::forget) never hears of anything
//! again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are carried at once.
const PIECE_BYTES: usize = 4096;
/// Pause of a trickle after each byte.
const TRICKLE: Duration = Duration::from_secs(1);

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Free,
    /// Nobody reads them; they wait where they are.
    Held,
    /// They are read and thrown away.
    Lost,
    /// One passes each second.
    Trickle,
    /// So many pass, then the connection is reset, in the middle of whatever that is.
    Cut(usize),
}

/// Both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// From the agent to the aggregator.
    pub up: Flow,
    /// From the aggregator to the agent.
    pub down: Flow,
}

/// What every connection watches.
#[derive(Clone, Copy, Debug)]
struct Forecast {
    weather: Weather,
    /// Connections with a lower number are forgotten.
    remembered_from: u64,
}

/// See the module. Ends with its runtime.
pub struct Proxy {
    address: SocketAddr,
    forecast: watch::Sender<Forecast>,
    /// How many connections there were.
    accepted: Arc<AtomicU64>,
}

/// A connection as it watches the weather.
#[derive(Clone)]
struct Line {
    number: u64,
    forecast: watch::Receiver<Forecast>,
}

/// A connection that must be reset.
struct Reset;

// === impl Proxy ===

impl Proxy {
    /// A proxy to `upstream`, on a free port.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let (forecast, watched) = watch::channel(Forecast { weather: Weather::FAIR, remembered_from: 0 });
        let accepted = Arc::<AtomicU64>::default();
        let number = accepted.clone();
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                let line = Line { number: number.fetch_add(1, Ordering::Relaxed), forecast: watched.clone() };
                tokio::spawn(carry(agent, upstream, line));
            }
        });
        Self { address, forecast, accepted }
    }

    /// Where the agent connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it is so.
    pub fn set(&self, weather: Weather) {
        self.forecast.send_modify(|forecast| forecast.weather = weather);
    }

    /// The connections that there are lead nowhere for ever, and nobody is told. New ones work.
    pub fn forget(&self) {
        let from = self.accepted.load(Ordering::Relaxed);
        self.forecast.send_modify(|forecast| forecast.remembered_from = from);
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.set(Weather::FAIR);
    }
}

// === impl Weather ===

impl Weather {
    /// Everything passes.
    pub const FAIR: Self = Self { up: Flow::Free, down: Flow::Free };
}

/// One connection, from its beginning to its end.
async fn carry(mut agent: TcpStream, upstream: SocketAddr, mut line: Line) {
    // In a partition nobody new is let through.
    let is_open = |forecast: &Forecast| forecast.weather.up != Flow::Held || forecast.weather.down != Flow::Held;
    if line.forecast.wait_for(is_open).await.is_err() {
        return;
    }
    // An aggregator that is not there: the agent sees its connection closed.
    let Ok(mut aggregator) = TcpStream::connect(upstream).await else { return };
    drop((agent.set_nodelay(true), aggregator.set_nodelay(true)));
    let ended = {
        let (from_agent, to_agent) = agent.split();
        let (from_aggregator, to_aggregator) = aggregator.split();
        let up = pump(from_agent, to_aggregator, line.clone(), |weather| weather.up);
        let down = pump(from_aggregator, to_agent, line.clone(), |weather| weather.down);
        tokio::try_join!(up, down)
    };
    if ended.is_err() {
        drop((agent.set_zero_linger(), aggregator.set_zero_linger()));
    }
}

/// One direction, until it ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut line: Line,
    side: impl Fn(Weather) -> Flow,
) -> Result<(), Reset> {
    let mut piece = [0; PIECE_BYTES];
    let (mut flow, mut lost, mut since) = (Flow::Free, false, 0);
    loop {
        let now = line.now(&side);
        if now != flow {
            (flow, since) = (now, 0);
            lost |= flow == Flow::Lost;
        }
        let most = match flow {
            Flow::Free if lost => return Err(Reset),
            Flow::Free | Flow::Lost => PIECE_BYTES,
            Flow::Trickle => 1,
            Flow::Cut(after) if since >= after => return Err(Reset),
            Flow::Cut(after) => PIECE_BYTES.min(after - since),
            Flow::Held => {
                line.changed().await?;
                continue;
            }
        };
        let read = tokio::select! {
            biased;
            changed = line.changed() => {
                changed?;
                continue;
            }
            read = from.read(&mut piece[..most]) => read.map_err(|_| Reset)?,
        };
        since += read;
        match (flow, read) {
            // Nothing comes through, the end neither.
            (Flow::Lost, 0) => line.changed().await?,
            (Flow::Lost, _) => {}
            // It has said everything; the other side may still answer.
            (_, 0) => return to.shutdown().await.map_err(|_| Reset),
            (_, _) => to.write_all(&piece[..read]).await.map_err(|_| Reset)?,
        }
        if flow == Flow::Trickle {
            tokio::select! {
                () = tokio::time::sleep(TRICKLE) => {}
                changed = line.changed() => changed?,
            }
        }
    }
}

// === impl Line ===

impl Line {
    /// How it is with one side now.
    fn now(&mut self, side: impl Fn(Weather) -> Flow) -> Flow {
        let forecast = *self.forecast.borrow_and_update();
        if self.number < forecast.remembered_from { Flow::Lost } else { side(forecast.weather) }
    }

    async fn changed(&mut self) -> Result<(), Reset> {
        self.forecast.changed().await.map_err(|_| Reset)
    }
}

// === tests ===

/// A client and a server with the proxy between them.
async fn pair() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = Proxy::start(listener.local_addr().expect("bound")).await;
    let client = TcpStream::connect(proxy.address()).await.expect("it listens");
    let (server, _) = listener.accept().await.expect("it connects");
    (proxy, client, server)
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.expect("they come");
    assert_eq!(read, bytes);
}

#[tokio::test]
async fn what_was_held_goes_on_when_it_heals() {
    let (proxy, mut client, mut server) = pair().await;
    client.write_all(b"one").await.expect("open");
    expect(&mut server, b"one").await;
    proxy.set(Weather { up: Flow::Held, ..Weather::FAIR });
    client.write_all(b"two").await.expect("open");
    server.write_all(b"down").await.expect("open");
    expect(&mut client, b"down").await;
    assert!(server.try_read(&mut [0; 3]).is_err(), "nothing comes up");
    proxy.heal();
    expect(&mut server, b"two").await;
}

#[tokio::test]
async fn after_what_was_lost_the_connection_is_reset_and_the_other_direction_worked_meanwhile() {
    let (proxy, mut client, mut server) = pair().await;
    proxy.set(Weather { down: Flow::Lost, ..Weather::FAIR });
    server.write_all(b"lost").await.expect("open");
    client.write_all(b"up").await.expect("open");
    expect(&mut server, b"up").await;
    proxy.heal();
    let ended = client.read(&mut [0; 4]).await.expect_err("reset");
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_cut_lets_so_many_bytes_pass_and_resets_both_sides() {
    let (proxy, mut client, mut server) = pair().await;
    proxy.set(Weather { up: Flow::Cut(5), ..Weather::FAIR });
    client.write_all(b"a frame").await.expect("open");
    expect(&mut server, b"a fra").await;
    assert!(server.read(&mut [0; 1]).await.is_err() && client.read(&mut [0; 1]).await.is_err());
}

#[tokio::test]
async fn a_trickle_lets_the_first_byte_pass_and_goes_on_at_once_when_it_heals() {
    let (proxy, mut client, mut server) = pair().await;
    proxy.set(Weather { up: Flow::Trickle, ..Weather::FAIR });
    client.write_all(b"slow").await.expect("open");
    expect(&mut server, b"s").await;
    proxy.heal();
    expect(&mut server, b"low").await;
}

#[tokio::test]
async fn a_forgotten_connection_stays_silent_and_a_new_one_works() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = Proxy::start(listener.local_addr().expect("bound")).await;
    let mut old = TcpStream::connect(proxy.address()).await.expect("it listens");
    let (mut old_server, _) = listener.accept().await.expect("it connects");
    old.write_all(b"one").await.expect("open");
    expect(&mut old_server, b"one").await;
    proxy.forget();
    old.write_all(b"two").await.expect("open");
    drop(old_server);
    let mut new = TcpStream::connect(proxy.address()).await.expect("it listens");
    let (mut new_server, _) = listener.accept().await.expect("it connects");
    new.write_all(b"three").await.expect("open");
    expect(&mut new_server, b"three").await;
    assert!(old.try_read(&mut [0; 1]).is_err(), "not even the end is told");
}

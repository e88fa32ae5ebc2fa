//! Where the programs listen, and what their pages say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Ports of the programs; the kernel gives those from 32768 on to whoever connects somewhere.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Longest that a page may take.
const PAGE_MAX: Duration = Duration::from_secs(5);

/// An address that nobody uses, and that nobody is given by chance while its program is down.
pub fn own_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A page's body, where it answers. By hand: it is asked some hundred times a second.
pub fn fetch(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PAGE_MAX).ok()?;
    stream.set_read_timeout(Some(PAGE_MAX)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    head.split_ascii_whitespace().nth(1).is_some_and(|code| code == "200").then(|| body.to_owned())
}

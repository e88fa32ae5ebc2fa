//! As much HTTP/1.1 as one server on this machine needs: one connection that is kept, bodies with a length or in chunks.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that says nothing for so long has hung. The longest query takes a fraction of a second.
const SILENCE_MAX: Duration = Duration::from_mins(2);

/// Status and body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A client of one server.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

// === impl Http ===

impl Http {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Posts `body`; where a kept connection was closed meanwhile, once more over a new one.
    pub fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<Response> {
        let was_kept = self.connection.is_some();
        let result = self.once(path, headers, body);
        let result = if result.is_err() && was_kept { self.once(path, headers, body) } else { result };
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    /// Posts the fields of a form.
    pub fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Response> {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        self.post(path, "Content-Type: application/x-www-form-urlencoded\r\n", fields.join("&").as_bytes())
    }

    fn once(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(connected(self.address)?),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        connection.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let response = response(&mut connection)?;
        self.connection = Some(connection);
        Ok(response)
    }
}

// === helpers ===

fn connected(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    });
    encoded.collect()
}

fn response(from: &mut BufReader<TcpStream>) -> Result<Response> {
    let first = line(from)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| malformed(&first))?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let header = line(from)?.to_ascii_lowercase();
        match header.split_once(':').map(|(name, value)| (name, value.trim())) {
            None => break,
            Some(("content-length", value)) => length = value.parse().map_err(|_| malformed(&header))?,
            Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    if is_chunked {
        loop {
            let size = line(from)?;
            let size = u64::from_str_radix(&size, 16).map_err(|_| malformed(&size))?;
            from.by_ref().take(size).read_to_end(&mut body)?;
            line(from)?;
            if size == 0 {
                break;
            }
        }
    } else {
        from.by_ref().take(length).read_to_end(&mut body)?;
    }
    Ok(Response { status, body })
}

fn line(from: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(Error::from(ErrorKind::UnexpectedEof));
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("no HTTP: {what:?}"))
}

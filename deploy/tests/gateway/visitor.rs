//! An HTTP client that shows everything: raw bytes out, parsed response in.
//! It never retries, so whatever the gateway loses is seen.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub version: String,
    /// Names in lower case; repeated ones joined by ", ".
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub trailers: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

pub struct Visitor {
    pub reader: BufReader<TcpStream>,
}

impl Visitor {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    pub fn send(&mut self, raw: &str) {
        self.try_send(raw).unwrap();
    }

    pub fn try_send(&mut self, raw: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(raw.as_bytes())
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.try_get(path).unwrap()
    }

    pub fn try_get(&mut self, path: &str) -> io::Result<Response> {
        self.try_send(&format!("GET {path} HTTP/1.1\r\nHost: app.example\r\n\r\n"))?;
        self.try_response("GET")
    }

    pub fn response(&mut self) -> Response {
        self.try_response("GET").unwrap()
    }

    pub fn try_response(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.try_head()?;
        if method == "HEAD" || response.status == 101 {
            return Ok(response);
        }
        let mut body = Vec::new();
        if response.header("transfer-encoding") == Some("chunked") {
            response.trailers = self.chunks(&mut body)?;
        } else if let Some(length) = response.header("content-length") {
            body.resize(length.parse().map_err(io::Error::other)?, 0);
            self.reader.read_exact(&mut body)?;
        } else {
            self.reader.read_to_end(&mut body)?;
        }
        response.body = String::from_utf8_lossy(&body).into_owned();
        Ok(response)
    }

    pub fn try_head(&mut self) -> io::Result<Response> {
        let line = self.line()?;
        let (version, rest) = line.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
        let status = rest.split(' ').next().and_then(|status| status.parse().ok());
        let mut headers = BTreeMap::<String, String>::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let joined = headers.entry(name.to_ascii_lowercase()).or_default();
            if !joined.is_empty() {
                joined.push_str(", ");
            }
            joined.push_str(value.trim());
        }
        Ok(Response {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            version: version.into(),
            headers,
            body: String::new(),
            trailers: String::new(),
        })
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<String> {
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size];
            self.reader.read_exact(&mut chunk)?;
            body.extend(chunk);
            self.line()?;
        }
        let mut trailers = String::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push_str(&line);
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// True when the other side has closed; waits for that.
    pub fn is_closed(&mut self) -> bool {
        match self.reader.read(&mut [0; 64]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

pub fn get(address: SocketAddr, path: &str) -> Response {
    Visitor::connect(address).get(path)
}

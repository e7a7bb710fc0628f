//! Requests over connections that are kept, sent by threads: a thread wakes up within some tens of microseconds of its
//! time, a timer of the runtime within a millisecond, which is what is to be measured.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// A server that does not answer for so long fails the bench.
const LIMIT: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// The request, byte by byte.
    pub request: String,
}

/// Milliseconds from the time at which each request was due to its whole answer. They are due one after the other at
/// the same distance, whether or not the ones before were answered.
pub fn paced(target: &Target, per_second: usize, connections: usize, seconds: u64) -> Result<Vec<f64>> {
    let count = per_second * usize::try_from(seconds)?;
    let distance = Duration::from_secs_f64(1.0 / per_second as f64);
    // Time for every connection to be opened.
    let begin = Instant::now() + Duration::from_millis(200);
    let lane = |first: usize| -> Result<Vec<f64>> {
        let mut connection = Connection::open(target)?;
        let mut times = Vec::with_capacity(count / connections + 1);
        for number in (first..count).step_by(connections) {
            let due = begin + distance * u32::try_from(number)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.ask()?;
            times.push(due.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(times)
    };
    let times: Result<Vec<_>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..connections).map(|first| scope.spawn(move || lane(first))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| bail!("a connection panicked"))).collect()
    });
    Ok(times?.concat())
}

/// Requests in a second when each connection sends the next as soon as it has an answer.
pub fn flat_out(target: &Target, connections: usize, seconds: u64) -> Result<f64> {
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let lane = || -> Result<()> {
        let mut connection = Connection::open(target)?;
        while !over.load(Ordering::Relaxed) {
            connection.ask()?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..connections).map(|_| scope.spawn(lane)).collect();
        let (begun, before) = (Instant::now(), count.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_secs(seconds));
        let rate = (count.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        for lane in lanes {
            lane.join().unwrap_or_else(|_| bail!("a connection panicked"))?;
        }
        Ok(rate)
    })
}

struct Connection<'a> {
    stream: TcpStream,
    target: &'a Target,
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn open(target: &'a Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream, target, buffer: Vec::with_capacity(4096) })
    }

    /// One request, which must be answered with 200.
    fn ask(&mut self) -> Result<()> {
        self.stream.write_all(self.target.request.as_bytes())?;
        self.buffer.clear();
        let mut piece = [0; 4096];
        while self.missing()? {
            let length = self.stream.read(&mut piece).context("no answer")?;
            ensure!(length > 0, "the connection was ended instead of an answer");
            self.buffer.extend_from_slice(&piece[..length]);
        }
        ensure!(
            self.buffer.starts_with(b"HTTP/1.1 200 "),
            "answered {}",
            String::from_utf8_lossy(&self.buffer)
        );
        Ok(())
    }

    /// Whether there is more to come of an answer.
    fn missing(&self) -> Result<bool> {
        const NAME: &str = "content-length:";
        let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") else { return Ok(true) };
        let head = std::str::from_utf8(&self.buffer[..end])?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_at_checked(NAME.len())?;
            name.eq_ignore_ascii_case(NAME).then(|| value.trim().parse::<usize>())
        });
        Ok(self.buffer.len() < end + 4 + length.context("an answer without its length")??)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers each request with these pieces.
    fn server(pieces: &'static [&'static str]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut request = [0; 3];
                    while stream.read_exact(&mut request).is_ok() {
                        for piece in pieces {
                            stream.write_all(piece.as_bytes()).unwrap();
                            stream.flush().unwrap();
                        }
                    }
                });
            }
        });
        Target { address, request: "ask".to_owned() }
    }

    #[test]
    fn every_request_is_sent_once_and_answered_whole() {
        let target = server(&["HTTP/1.1 200 OK\r\nContent-", "Length: 4\r\n\r\n", "pod", "\n"]);
        assert_eq!(paced(&target, 200, 3, 1).unwrap().len(), 200);
        assert!(flat_out(&target, 2, 1).unwrap() > 10.0);
    }

    #[test]
    fn an_answer_that_is_no_200_fails() {
        let target = server(&["HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"]);
        let error = paced(&target, 10, 1, 1).unwrap_err().to_string();
        assert!(error.contains("503"), "{error}");
        assert!(flat_out(&target, 1, 1).is_err());
    }
}

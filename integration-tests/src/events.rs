//! A client of streams of server-sent events that comes back by itself, as browsers do.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Response};
use serde_json::Value;

use crate::{Caller, Env};

/// Longest silence; the service writes something at least every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// Pause before coming back.
const PAUSE: Duration = Duration::from_millis(200);

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// A stream that is opened again, after the last id, whenever it ends.
#[derive(Debug)]
pub struct EventStream {
    http: Client,
    url: String,
    token: String,
    response: Option<Response>,
    buffer: String,
    ready: VecDeque<Event>,
    /// The id of the last event, or of the last comment that had one.
    pub last_id: Option<String>,
    /// How often it was opened.
    pub opened: usize,
}

impl EventStream {
    /// Opens `path` as the caller, through Traefik.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open(env: &Env, caller: &Caller, path: &str) -> Result<Self> {
        let mut stream = Self {
            http: Client::builder().no_proxy().read_timeout(SILENCE).build()?,
            url: format!("{}{path}", env.base_url),
            token: caller.token.clone(),
            response: None,
            buffer: String::new(),
            ready: VecDeque::new(),
            last_id: None,
            opened: 0,
        };
        let response = stream.request().await?;
        let status = response.status();
        ensure!(status == 200, "the stream was refused with {status}: {}", response.text().await?);
        stream.response = Some(response);
        Ok(stream)
    }

    async fn request(&mut self) -> Result<Response> {
        let mut request = self.http.get(&self.url).header("X-Tapis-Token", &self.token);
        if let Some(id) = &self.last_id {
            request = request.header("Last-Event-ID", id);
        }
        self.opened += 1;
        self.buffer.clear();
        Ok(request.send().await?)
    }

    /// The next event but `end`; the stream is opened again as often as it takes.
    ///
    /// # Errors
    /// When it is refused for good.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if event.name != "end" {
                    return Ok(event);
                }
            }
            let Some(response) = &mut self.response else {
                tokio::time::sleep(PAUSE).await;
                self.response = self.come_back().await?;
                continue;
            };
            match response.chunk().await {
                Ok(Some(piece)) => self.take(&String::from_utf8_lossy(&piece))?,
                Ok(None) | Err(_) => self.response = None,
            }
        }
    }

    /// `None` while the service is not to be had.
    async fn come_back(&mut self) -> Result<Option<Response>> {
        match self.request().await {
            Ok(response) if response.status() == 200 => Ok(Some(response)),
            Ok(response) if response.status().is_client_error() && response.status() != 404 => {
                let status = response.status();
                anyhow::bail!("coming back was refused with {status}: {}", response.text().await?)
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn take(&mut self, piece: &str) -> Result<()> {
        self.buffer.push_str(piece);
        while let Some(end) = self.buffer.find("\n\n") {
            let block: String = self.buffer.drain(..end + 2).collect();
            let (mut name, mut data) = (String::new(), Vec::new());
            for line in block.lines() {
                match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                    Some(("id", id)) => self.last_id = Some(id.to_owned()),
                    Some(("event", value)) => name = value.to_owned(),
                    Some(("data", value)) => data.push(value.to_owned()),
                    _ => {}
                }
            }
            if !name.is_empty() {
                let data = serde_json::from_str(&data.join("\n")).context("data is JSON")?;
                self.ready.push_back(Event { name, data });
            }
        }
        Ok(())
    }

    /// Cuts the connection, as a broken network would; the next event is asked for anew.
    pub fn cut(&mut self) {
        self.response = None;
    }
}

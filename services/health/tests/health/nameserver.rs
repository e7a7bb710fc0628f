//! A DNS server for tests: says what the test wants, over UDP and TCP.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{CNAME, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

/// More does not go into a datagram; clients ask again over TCP.
const DATAGRAM: usize = 1200;

/// What is said about a name. Names that nobody spoke of do not exist.
#[derive(Debug, Clone)]
pub enum Reply {
    Texts(Vec<String>),
    /// The name exists and has no text.
    Empty,
    /// Another name has the texts.
    Alias(String, Vec<String>),
    Code(ResponseCode),
    Silence,
}

#[derive(Clone)]
pub struct NameServer {
    pub address: SocketAddr,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    pub async fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let server = Self { address, replies: Arc::default(), asked: Arc::default() };
        tokio::spawn(server.clone().over_udp(udp));
        tokio::spawn(server.clone().over_tcp(tcp));
        server
    }

    pub fn says(&self, name: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(format!("{name}."), reply);
    }

    /// How often it was asked for a name.
    pub fn asked(&self, name: &str) -> usize {
        let name = format!("{name}.");
        self.asked.lock().unwrap().iter().filter(|asked| **asked == name).count()
    }

    async fn over_udp(self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Some(mut answer) = self.answer(&buffer[..length]) else { continue };
            if answer.to_vec().unwrap().len() > DATAGRAM {
                answer = answer.truncate();
            }
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    }

    async fn over_tcp(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    stream.read_exact(&mut question).await.unwrap();
                    let Some(answer) = server.answer(&question) else { continue };
                    let answer = answer.to_vec().unwrap();
                    stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Message> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let name = query.name().clone();
        self.asked.lock().unwrap().push(name.to_string());
        let reply = self.replies.lock().unwrap().get(&name.to_string()).cloned();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_available = true;
        answer.metadata.recursion_desired = true;
        answer.add_query(query);
        match reply.unwrap_or(Reply::Code(ResponseCode::NXDomain)) {
            Reply::Texts(texts) => {
                answer.add_answers(texts.iter().map(|text| record(&name, text)));
            }
            Reply::Empty => {}
            Reply::Alias(target, texts) => {
                let target = Name::from_ascii(target).unwrap();
                answer.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(target.clone()))));
                answer.add_answers(texts.iter().map(|text| record(&target, text)));
            }
            Reply::Code(code) => answer.metadata.response_code = code,
            Reply::Silence => return None,
        }
        Some(answer)
    }
}

/// A text of more than 255 bytes stands in several pieces.
fn record(name: &Name, text: &str) -> Record {
    let pieces = text.as_bytes().chunks(255).collect();
    Record::from_rdata(name.clone(), 60, RData::TXT(TXT::from_bytes(pieces)))
}

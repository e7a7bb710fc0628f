//! A platform that hangs up on whoever asks, or lets them wait, and counts them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{io::AsyncReadExt, net::TcpListener, sync::Semaphore};

pub struct Gone {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
}

impl Gone {
    pub async fn start() -> Self {
        // Tenants differ by host.
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(Semaphore::new(1));
        let (count, answer) = (Arc::clone(&asked), Arc::clone(&answers));
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // Without the request the client might believe that it was never sent, and send it again.
                let _ = connection.read(&mut [0; 1024]).await;
                let _ = answer.acquire().await;
            }
        });
        Self { address, asked, answers }
    }

    /// Lets everybody wait until this is dropped.
    pub async fn hang(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.answers.acquire().await.unwrap()
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

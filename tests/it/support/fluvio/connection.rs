//! One connection: frames in, frames out, and how it ends.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::faults::Close;
use super::net::Gate;
use super::wire::{FRAME_MAX, LENGTH_SIZE};

/// After a FIN the socket stays open for so long, because closing it with unread bytes in it would
/// send a reset that overtakes the FIN.
const FIN_LINGER: Duration = Duration::from_millis(200);

/// A connection, with the tasks that push to it.
pub(super) struct Connection {
    stream: Arc<TcpStream>,
    buffer: BytesMut,
    gate: Gate,
    sender: FrameSender,
    tasks: JoinSet<()>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, gate: Gate) -> Self {
        // Answers are single frames: waiting for more to send would only make tests slow.
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        Self {
            sender: FrameSender {
                stream: Arc::clone(&stream),
                turn: Arc::default(),
                gate: gate.clone(),
            },
            stream,
            buffer: BytesMut::new(),
            gate,
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn sender(&self) -> FrameSender {
        self.sender.clone()
    }

    /// Starts a task that ends with the connection.
    pub(super) fn spawn(&mut self, task: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.tasks.spawn(async {
            // The only way to fail is to write to a connection that is gone.
            let _ = task.await;
        });
    }

    /// The first `len` bytes of the next frame, or all if it has fewer; they are not taken.
    pub(super) async fn peek(&mut self, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(size) = self.frame_size().await? else {
            return Ok(None);
        };
        let end = LENGTH_SIZE + size.min(len);
        if !self.fill(end).await? {
            return Ok(None);
        }
        Ok(Some(&self.buffer[LENGTH_SIZE..end]))
    }

    /// Takes the next frame. None says that the client has closed the connection.
    pub(super) async fn frame(&mut self) -> io::Result<Option<Bytes>> {
        let Some(size) = self.frame_size().await? else {
            return Ok(None);
        };
        if !self.fill(LENGTH_SIZE + size).await? {
            return Ok(None);
        }
        let frame = self.buffer.split_to(LENGTH_SIZE + size).freeze();
        // What arrived in the moment of the freeze waits like the rest.
        self.gate.open().await;
        Ok(Some(frame.slice(LENGTH_SIZE..)))
    }

    /// Reads `len` bytes, counted from the start of the frame.
    pub(super) async fn read_part(&mut self, len: usize) -> io::Result<()> {
        let size = self.frame_size().await?.unwrap_or(0);
        self.fill(len.min(LENGTH_SIZE + size)).await.map(|_| ())
    }

    async fn frame_size(&mut self) -> io::Result<Option<usize>> {
        if !self.fill(LENGTH_SIZE).await? {
            return Ok(None);
        }
        let length: [u8; LENGTH_SIZE] = self.buffer[..LENGTH_SIZE].try_into().expect("four bytes");
        match usize::try_from(i32::from_be_bytes(length)) {
            Ok(size) if size <= FRAME_MAX => Ok(Some(size)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {} bytes", i32::from_be_bytes(length)),
            )),
        }
    }

    /// Reads until the buffer has `len` bytes and no more: what a fault leaves unread must stay
    /// in the socket. False says that the client closed the connection before.
    async fn fill(&mut self, len: usize) -> io::Result<bool> {
        while self.buffer.len() < len {
            self.gate.open().await;
            tokio::select! {
                biased;
                () = self.gate.closed() => {}
                ready = self.stream.readable() => {
                    ready?;
                    let missing = len - self.buffer.len();
                    match self.stream.try_read_buf(&mut (&mut self.buffer).limit(missing)) {
                        Ok(0) => return Ok(false),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(true)
    }

    pub(super) async fn finish(mut self, how: Close) {
        // The tasks hold the socket, too, and it closes with the last of them.
        self.tasks.shutdown().await;
        let socket = SockRef::from(&*self.stream);
        match how {
            Close::Reset => {
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            Close::Fin => {
                let _ = socket.shutdown(Shutdown::Write);
                tokio::spawn(tokio::time::timeout(FIN_LINGER, drain(self.stream)));
            }
        }
    }
}

async fn drain(stream: Arc<TcpStream>) {
    let mut scrap = vec![0; 64 << 10];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut scrap) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The way out, shared by the answers and by what is pushed.
#[derive(Clone)]
pub(super) struct FrameSender {
    stream: Arc<TcpStream>,
    turn: Arc<tokio::sync::Mutex<()>>,
    gate: Gate,
}

impl FrameSender {
    pub(super) async fn send(&self, frame: Bytes) -> io::Result<()> {
        self.gate.clone().open().await;
        let _turn = self.turn.lock().await;
        let mut rest: &[u8] = &frame;
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

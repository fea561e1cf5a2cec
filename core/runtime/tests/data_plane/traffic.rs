//! Streams and datagrams between the two hosts.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Result, ensure};
use netlab::Host;

use crate::pair::SOON;

const PIECE: usize = 1 << 16;

/// Bytes that tell their place, the same in every piece.
pub(crate) fn pattern(start: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| ((at % PIECE) as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    (start..start + len).map(byte).collect()
}

/// Sends `len` bytes from one host to an address of another and checks that they arrive as they were.
pub(crate) fn stream(from: &Host, to: &Host, address: IpAddr, len: usize) -> Result<()> {
    let listener = to.inside(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    thread::scope(|scope| -> Result<()> {
        let receiver = scope.spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(SOON))?;
            let (mut at, mut piece) = (0, vec![0; PIECE]);
            loop {
                let got = stream.read(&mut piece)?;
                if got == 0 {
                    ensure!(at == len, "{at} of {len} bytes arrived");
                    return Ok(());
                }
                ensure!(piece[..got] == pattern(at, got), "other bytes behind byte {at}");
                at += got;
            }
        });
        let mut stream = from.inside(|| TcpStream::connect_timeout(&target, SOON))??;
        stream.set_write_timeout(Some(SOON))?;
        let whole = pattern(0, PIECE);
        let mut at = 0;
        while at < len {
            let piece = (len - at).min(PIECE);
            stream.write_all(&whole[..piece])?;
            at += piece;
        }
        drop(stream);
        receiver.join().expect("the receiver")
    })
}

/// A bound UDP socket inside a host.
pub(crate) fn udp(host: &Host, local: impl Into<SocketAddr>) -> Result<UdpSocket> {
    let local = local.into();
    let socket = host.inside(|| UdpSocket::bind(local))??;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket)
}

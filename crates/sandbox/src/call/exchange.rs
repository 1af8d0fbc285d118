//! What goes to a guest and comes back, by frames or over the Runtime API.

use bytes::{Bytes, BytesMut};
use fractus_func::LogStream;
use fractus_lambda::{Answer, ErrorShape, Invocation};

use crate::call::failure::gone;
use crate::call::upload::Upload;
use crate::call::visit::Visit;
use crate::frame::{self, Frame, from, put, to};
use crate::instance::{Broken, Channel, Instance, Prints, Wire};
use crate::limits::{ANSWER_AHEAD, FRAME_COST};

/// What came behind the first frame of an answer without waiting.
pub(super) enum Collected {
    Whole(Bytes),
    Partly(Vec<Bytes>),
    Failed(Bytes),
}

/// Sends a call and reads the first frame of the answer, and what comes with it.
pub(super) async fn frames(
    instance: &mut Instance,
    visit: &mut Visit,
    call: &[u8],
    upload: Option<Upload>,
) -> Result<(Frame, Collected), Broken> {
    let Instance {
        channel, output, ..
    } = instance;
    let Channel::Frames(socket) = channel else {
        return Err(Broken::Protocol);
    };
    instance.is_exiting = true;
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    let mut wire = Wire::open(socket, output, &log).map_err(Broken::Socket)?;
    let mut read = 0;
    wire.send(call).await?;
    if let Some(mut upload) = upload {
        read = upload.read;
        if upload.has_more() {
            read = send_rest(&mut wire, &mut upload).await?;
        }
    }
    let first = wire.next().await?;
    let exiting = first.kind == from::ERROR && frame::is_exiting(&first.payload);
    let mut chunks = Vec::new();
    let mut length = 0;
    let collected = loop {
        if !matches!(first.kind, from::HTTP_HEAD | from::STREAM) {
            break Collected::Whole(Bytes::new());
        }
        if length > ANSWER_AHEAD {
            break Collected::Partly(std::mem::take(&mut chunks));
        }
        let Some(frame) = wire.try_next()? else {
            break Collected::Partly(std::mem::take(&mut chunks));
        };
        match frame.kind {
            from::DATA => {
                length += frame.payload.len() + FRAME_COST;
                chunks.push(frame.payload);
            }
            from::END if chunks.len() == 1 => break Collected::Whole(chunks.remove(0)),
            from::END => break Collected::Whole(chunks.concat().into()),
            from::ERROR => break Collected::Failed(frame.payload),
            _ => return Err(Broken::Protocol),
        }
    };
    wire.drain();
    drop(wire);
    visit.request_bytes = visit.request_bytes.max(read);
    instance.is_exiting = exiting || matches!(collected, Collected::Partly(_));
    Ok((first, collected))
}

/// Sends the rest of a request's body, unless the guest answers before it has it all.
pub(super) async fn send_rest(wire: &mut Wire<'_>, upload: &mut Upload) -> Result<u64, Broken> {
    loop {
        let next = tokio::select! {
            next = upload.next() => next,
            () = wire.arrived() => break,
        };
        let mut frame = BytesMut::new();
        match next {
            Ok(Some(data)) => put(&mut frame, to::DATA, &data),
            Ok(None) => {
                put(&mut frame, to::END, b"");
                wire.send(&frame).await?;
                break;
            }
            Err(_broken_off) => {
                put(&mut frame, to::BROKEN_OFF, b"");
                wire.send(&frame).await?;
                break;
            }
        }
        wire.send(&frame).await?;
    }
    Ok(upload.read)
}

/// Calls the guest over the Runtime API, for as long as its process lives.
pub(super) async fn over_api(
    instance: &mut Instance,
    visit: &Visit,
    invocation: Invocation,
) -> Result<Result<Answer, ErrorShape>, Broken> {
    let Instance {
        process,
        channel,
        output,
        ..
    } = instance;
    let Channel::Api(api) = channel else {
        return Err(Broken::Protocol);
    };
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    let mut prints = Prints::watch(output, &log).map_err(Broken::Socket)?;
    let answer = tokio::select! {
        biased;
        answer = api.driver.invoke(invocation) => Ok(answer),
        () = gone(process) => Err(Broken::Gone),
        () = prints.follow() => Err(Broken::Protocol),
    };
    prints.drain();
    answer
}

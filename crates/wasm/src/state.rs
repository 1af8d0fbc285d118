//! What a guest's store holds: its side of WASI, its memory account and its way out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fractus_func::{Host, LogStream, OutboundError};
use http::HeaderName;
use http_body_util::BodyExt;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};

use crate::body::{from_guest_error, to_guest_error};
use crate::call::Context;
use crate::limits::{BODY_CHUNK, BODY_CHUNKS_QUEUED, FIELDS_MAX, RANDOM_MAX, RESOURCES_MAX};
use crate::output::GuestOutput;

/// The data of one instance's store.
pub(crate) struct GuestState {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    pub(crate) memory: Memory,
}

impl GuestState {
    /// The state of a fresh instance: environment, clocks, randomness and output; no arguments, no
    /// files, no sockets.
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        let output = |stream| GuestOutput {
            context: Arc::clone(context),
            stream,
        };
        let wasi = WasiCtx::builder()
            .envs(context.host.env())
            .stdout(output(LogStream::Stdout))
            .stderr(output(LogStream::Stderr))
            .max_random_size(RANDOM_MAX)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_MAX);
        Self {
            table,
            wasi,
            http,
            hooks: Hooks {
                context: Arc::clone(context),
            },
            memory: Memory {
                context: Arc::clone(context),
                limit: context.host.limits().memory_bytes(),
                used: 0,
            },
        }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// Linear memory of one instance against its own limit and the node's budget.
pub(crate) struct Memory {
    context: Arc<Context>,
    limit: usize,
    used: usize,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let meter = &self.context.meter;
        if self.used.saturating_add(more) > self.limit {
            meter.memory_denied.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        if !self.context.host.reserve_memory(more) {
            meter.node_full.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        self.used += more;
        self.context
            .meter
            .peak_memory
            .store(self.used as u64, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true) // The pool's table size bounds it.
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.context.host.release_memory(self.used);
    }
}

/// Outgoing requests: all go to the host, which knows what the manifest allows.
struct Hooks {
    context: Arc<Context>,
}

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _answered: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let context = Arc::clone(&self.context);
        let patience = options.and_then(|options| options.first_byte_timeout);
        Box::new(async move {
            let request = request.map(|body| body.map_err(from_guest_error).boxed_unsync());
            let answer = context.host.send(request);
            let answer = match patience {
                Some(patience) => tokio::time::timeout(patience, answer)
                    .await
                    .map_err(|_elapsed| Error::ConnectionReadTimeout)?,
                None => answer.await,
            };
            let response = answer.map_err(|error| refused(&context, &error))?;
            let response = response.map(|body| body.map_err(to_guest_error).boxed_unsync());
            let nothing_left: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing_left))
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS_QUEUED
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }
}

/// Tells the guest by code, and the developer by a line in the function's log.
fn refused(context: &Context, error: &OutboundError) -> Error {
    let host: &dyn Host = &*context.host;
    let text = fractus_stdx::ErrorChain(error).to_string();
    host.log(context.id, LogStream::System, &text);
    match error {
        OutboundError::Denied { .. } => Error::HttpRequestDenied,
        OutboundError::NoSuchHost(_) => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        OutboundError::Failed { .. } => Error::ConnectionTerminated,
        OutboundError::Timeout(_) => Error::ConnectionTimeout,
    }
}

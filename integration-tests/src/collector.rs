//! A collector of traces: a server of OTLP over gRPC that keeps what it gets.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::TryStreamExt;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tonic::{Request, Response, Status, transport::Server};

/// A span, as it arrived.
#[derive(Debug, Clone)]
pub struct Span {
    /// The process that recorded it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The trace that it belongs to, in hexadecimal digits.
    pub trace: String,
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// The span that it is a part of; empty for the first of a trace.
    pub parent: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<Span>>>,
    /// Everything that arrived, as text, for searching.
    text: Arc<Mutex<String>>,
}

/// See the module. It is closed when dropped.
pub struct Collector {
    kept: Kept,
    address: SocketAddr,
    /// Ends with every connection when it is shut down.
    runtime: Mutex<Option<Runtime>>,
}

impl Collector {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be started");
        let opened = runtime.spawn(TcpListener::bind("127.0.0.1:0"));
        let listener = opened.await.expect("nothing panics").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let connections = futures::stream::try_unfold(listener, |listener| async {
            let (connection, _) = listener.accept().await?;
            Ok::<_, std::io::Error>(Some((connection, listener)))
        });
        runtime.spawn(async move {
            let served =
                Server::builder().add_service(service).serve_with_incoming(connections.into_stream());
            served.await.expect("the collector serves");
        });
        Self { kept, address, runtime: Mutex::new(Some(runtime)) }
    }

    /// What processes are configured with.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that arrived so far.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.kept.spans).clone()
    }

    /// Everything that arrived so far, as text.
    pub fn text(&self) -> String {
        lock(&self.kept.text).clone()
    }

    /// Closes the port and every connection; what arrived stays.
    pub fn close(&self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.close();
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        lock(&self.text).push_str(&format!("{request:?}\n"));
        for resource in request.resource_spans {
            let of_process =
                resource.resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
            let service = of_process.get("service.name").cloned().unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                lock(&self.spans).push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: texts(&span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::BoolValue(truth)) => truth.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key.clone(), value)
    };
    attributes.iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

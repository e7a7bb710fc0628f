//! What every crate needs to be observed: types of metrics, the trace context that crosses processes, signs of life, failures
//! that go on.
//!
//! Each crate keeps its metrics as statics in a module `metrics` with one function `register`, so that measuring
//! needs no handle that travels through every constructor. A label has few values, all of them known to the code:
//! never a user, a tenant or a pod.

pub mod beat;
pub mod metrics;
pub mod outage;
pub mod trace;

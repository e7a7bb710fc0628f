//! A scripted Kubernetes API server in the test's own process.

//! What the version of the API server says about its nodes.

use k8s_openapi::apimachinery::pkg::version::Info;

/// The first minor version of Kubernetes 1 whose kubelet lets a container that is ended through its deadline use its
/// grace period.
const FIRST_PATIENT_KUBELET: u32 = 22;
/// Kubelets may be so many minor versions older than the API server.
const KUBELET_SKEW: u32 = 3;

/// Whether a node of the cluster may run a kubelet that kills a container of a Pod without a volume as soon as the Pod
/// counts as failed, before its grace period is over. What cannot be read may.
pub fn may_have_impatient_kubelets(server: &Info) -> bool {
    // Some distributions write "20+".
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
    match (number(&server.major), number(&server.minor)) {
        (Some(1), Some(minor)) => minor < FIRST_PATIENT_KUBELET + KUBELET_SKEW,
        (Some(major), Some(_)) => major < 1,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_may_be_three_versions_older() {
        let impatient = |major: &str, minor: &str| {
            let info = Info { major: major.to_owned(), minor: minor.to_owned(), ..Info::default() };
            may_have_impatient_kubelets(&info)
        };
        assert!(impatient("1", "20") && impatient("1", "24+") && impatient("", ""));
        assert!(!impatient("1", "25") && !impatient("1", "33+") && !impatient("2", "0"));
        assert!(impatient("1", "beta"));
    }
}

//! A change costs the pieces that it touches.

use super::*;

fn many(count: usize) -> RoutingTable {
    let pods: Vec<RoutedPod> = (0..count)
        .map(|n| pod(&format!("pod{n:04}"), Status::Available, &[("default", plain()), ("admin", plain())]))
        .collect();
    table(&pods)
}

/// Pieces of `after` that are not among those of `before`.
fn new_pieces(before: &[Piece], after: &[Piece]) -> usize {
    after.iter().filter(|piece| !before.iter().any(|known| Arc::ptr_eq(known, piece))).count()
}

#[test]
fn what_did_not_change_is_not_rendered_again() {
    let mut table = many(500);
    let before = table.pieces();
    assert!(before.len() > 30, "{} pieces", before.len());
    assert_eq!(new_pieces(&before, &table.pieces()), 0);
    let changed = pod("pod0250", Status::Available, &[("default", Networking { port: 81, ..plain() })]);
    assert!(table.set(&changed));
    let after = table.pieces();
    let new = new_pieces(&before, &after);
    assert!((1..=6).contains(&new), "{new} of {} pieces are new", after.len());
    assert!(after.iter().all(|piece| piece.len() < 64 * 1024));
}

#[test]
fn pieces_come_and_go() {
    let mut one_by_one = many(400);
    let fresh = many(400).render();
    for n in (0..400).rev() {
        let pod = pod(&format!("pod{n:04}"), Status::Stopped, &[("default", plain()), ("admin", plain())]);
        assert!(one_by_one.set(&pod));
    }
    assert_eq!(one_by_one.render(), table([]).render());
    assert!(one_by_one.pieces().len() < 6);
    for n in 0..400 {
        let entries = [("default", plain()), ("admin", plain())];
        one_by_one.set(&pod(&format!("pod{n:04}"), Status::Available, &entries));
    }
    assert_eq!(one_by_one.render(), fresh);
}

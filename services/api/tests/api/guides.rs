//! The networking of the guides is networking that the API takes.

use serde_json::{Value, json};

use crate::app::TestApp;

/// JSON of the page in its fenced blocks, and in the bodies of its `curl` commands.
fn examples(page: &str) -> Vec<Value> {
    let mut texts: Vec<String> = Vec::new();
    for block in page.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap().trim();
        texts.push(if text.starts_with('{') { text.to_owned() } else { format!("{{{text}}}") });
    }
    for command in page.split("-d '").skip(1) {
        texts.push(command.split('\'').next().unwrap().to_owned());
    }
    let read = |text: String| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    texts.into_iter().map(read).collect()
}

/// Whether everything that was asked for is in the answer.
fn contains(answer: &Value, asked: &Value) -> bool {
    match (answer, asked) {
        (Value::Object(answer), Value::Object(asked)) => {
            asked.iter().all(|(key, asked)| answer.get(key).is_some_and(|answer| contains(answer, asked)))
        }
        _ => answer == asked,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_networking_is_accepted_as_it_is_written() {
    let app = TestApp::start().await;
    let pages =
        [include_str!("../../../../docs/networking.md"), include_str!("../../../../docs/tapis-auth.md")];
    let mut count = 0;
    for networking in
        pages.iter().flat_map(|page| examples(page)).map(|example| example["networking"].clone())
    {
        if networking.is_null() {
            continue;
        }
        count += 1;
        let id = format!("example{count}");
        let body = json!({ "pod_id": id, "image": "busybox", "networking": networking });
        let pod = app.alice().post("/v3/pods", body).await.ok();
        assert!(contains(&pod["networking"], &networking), "{networking}\n{}", pod["networking"]);
    }
    assert!(count >= 7, "only {count} examples were found");
}

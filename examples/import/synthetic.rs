//! Transcripts for those who have none.

use std::fs;
use std::path::Path;

use serde_json::json;

/// Numbers that look random and are the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn text(&mut self, words: u64) -> String {
        const WORDS: [&str; 16] = [
            "the",
            "flight",
            "file",
            "größe",
            "naïve",
            "日本語",
            "🦀",
            "\u{2028}",
            "\u{2029}",
            "line\nbreak",
            "\"quoted\"",
            "\\",
            "tab\t",
            "e\u{301}",
            "\u{feff}",
            "zero\u{0}",
        ];
        let pick = |n: &mut Numbers| WORDS.get(n.below(WORDS.len() as u64) as usize).copied().unwrap_or("");
        (0..words).map(|_| pick(self)).collect::<Vec<_>>().join(" ")
    }

    fn message(&mut self, i: u64) -> serde_json::Value {
        let words = 1 + self.below(60);
        match i % 4 {
            0 => json!({"role": "user", "content": self.text(words)}),
            1 => json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": format!("call_{i}"), "function": {"name": "search", "arguments": self.text(5)}}]}),
            2 => {
                json!({"role": "tool", "tool_call_id": format!("call_{}", i - 1), "content": self.text(words * 4)})
            }
            _ => json!({"role": "assistant", "content": self.text(words)}),
        }
    }
}

pub(crate) fn write(dir: &Path) -> std::io::Result<()> {
    let mut n = Numbers(42);
    fs::create_dir_all(dir.join("chats"))?;
    fs::create_dir_all(dir.join("agents/sub"))?;
    for i in 0..30 {
        // From a single message to some hundreds.
        let count = 1 + n.below(4 << (i % 8));
        let lines: String = (0..count).map(|m| format!("{}\n", n.message(m))).collect();
        fs::write(dir.join(format!("chats/{i:02}.jsonl")), lines)?;
    }
    let typed = |n: &mut Numbers, i: u64| {
        let message = n.message(i);
        json!({"type": message["role"], "uuid": format!("{i:08x}"), "message": message})
    };
    // U+2028 as itself inside a line, line ends as Windows writes them, and a last line without any.
    let lines: String = (0..50).map(|i| format!("{}\r\n", typed(&mut n, i))).collect();
    fs::write(dir.join("agents/windows.jsonl"), lines)?;
    fs::write(
        dir.join("agents/sub/unfinished.jsonl"),
        "{\"role\":\"user\",\"content\":\"a\u{2028}b\"}\n{\"role\":\"assis",
    )?;
    fs::write(dir.join("agents/empty.jsonl"), "")?;
    fs::write(dir.join("agents/blank lines.jsonl"), "\n\n{\"type\":\"summary\"}\n\n")?;
    let mut lines: String = (0..25).map(|i| format!("{}\n", typed(&mut n, i))).collect();
    lines += &format!("{}\n", json!({"role": "tool", "content": "x".repeat(1_000_000)}));
    lines += &format!("{}\n", typed(&mut n, 4));
    fs::write(dir.join("agents/sub/large.jsonl"), lines)?;
    let lines: String = (0..3_000).map(|i| format!("{{\"type\":\"delta\",\"n\":{i}}}\n")).collect();
    fs::write(dir.join("agents/deltas.jsonl"), lines)?;
    // Many sessions in one file, their lines mixed.
    let lines: String = (0..200)
        .map(|i| {
            format!(
                "{}\n",
                json!({"session": format!("task-{}", i % 7), "seq": i / 7, "message": n.message(i)})
            )
        })
        .collect();
    fs::write(dir.join("benchmark.jsonl"), lines)
}

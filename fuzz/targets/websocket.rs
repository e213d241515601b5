//! What a viewer says over its WebSocket, read with the limits of the live view.
#![no_main]

use std::cell::OnceCell;

use futures_util::StreamExt as _;
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// As `heldar-kernel::api::live` has it.
const MAX_MESSAGE: usize = 1024;

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

fuzz_target!(|said: &[u8]| {
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| {
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
        });
        runtime.block_on(async {
            let (mut viewer, server) = tokio::io::duplex(said.len() + 4096);
            viewer.write_all(said).await.expect("room for all of it");
            viewer.shutdown().await.expect("an end");
            let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE));
            let mut socket = WebSocketStream::from_raw_socket(server, Role::Server, Some(config)).await;
            while let Some(Ok(message)) = socket.next().await {
                assert!(message.len() <= MAX_MESSAGE, "a message of {} bytes", message.len());
            }
        });
    });
});

//! Runs test cameras by themselves: `testcam --cameras N --port P --video FILE.mp4`.

use clap::Parser;
use heldar_testcam::{Arguments, run_command};

/// Test cameras
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run_command(Command::parse().arguments, std::io::stdout()).await?;
    Ok(())
}

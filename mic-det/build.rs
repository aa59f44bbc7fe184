//! Puts the files of `configs/det` into the program.

#[path = "../configs/embed.rs"]
mod embed;

fn main() -> std::io::Result<()> {
    embed::embed("det")
}

//! Compiles `proto/slr.proto`; protox parses it, so that a build needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/slr.proto");
    let files = protox::compile(["proto/slr.proto"], ["proto"])?;
    // Sorted maps and no comments: the generated code is internal, the documentation is the .proto file.
    prost_build::Config::new().disable_comments(["."]).compile_fds(files)?;
    Ok(())
}

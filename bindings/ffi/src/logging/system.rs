//! The system's own log: logcat on Android, os_log on Apple's systems; elsewhere there is none.

use tracing::Level;

#[cfg(target_os = "android")]
pub(super) fn write(level: Level, target: &str, text: &str) {
    use log::Log;

    static LOGCAT: std::sync::LazyLock<android_logger::AndroidLogger> = std::sync::LazyLock::new(|| {
        let config = android_logger::Config::default().with_tag("weft");
        android_logger::AndroidLogger::new(config.with_max_level(log::LevelFilter::Trace))
    });
    let level = match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    };
    LOGCAT.log(&log::Record::builder().level(level).target(target).args(format_args!("{text}")).build());
}

#[cfg(target_vendor = "apple")]
pub(super) fn write(level: Level, target: &str, text: &str) {
    static OS_LOG: std::sync::LazyLock<oslog::OsLog> =
        std::sync::LazyLock::new(|| oslog::OsLog::new("org.weft", "core"));
    let level = match level {
        Level::ERROR => oslog::Level::Fault,
        Level::WARN => oslog::Level::Error,
        Level::INFO => oslog::Level::Default,
        Level::DEBUG => oslog::Level::Info,
        Level::TRACE => oslog::Level::Debug,
    };
    OS_LOG.with_level(level, &format!("{target}: {text}"));
}

#[cfg(not(any(target_os = "android", target_vendor = "apple")))]
pub(super) fn write(_level: Level, _target: &str, _text: &str) {}

/**
 * Raises what uWebSockets.js takes as request headers, address included: it ends a request whose headers come in
 * several packets and are longer than 4 KiB, and a token alone may have 16 KiB. The library reads the variable once,
 * when it is loaded, so this file is imported before it.
 */
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] ??= String(24 * 1024)

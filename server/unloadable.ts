/** Why the program did not load, in one line. */

/**
 * uWebSockets.js comes as a binary for each platform and version of Node. Where there is none that loads, it says which versions
 * there are, and the loader's own words behind that.
 */
export function whyUnloadable(error: unknown, { versions, platform, arch }: NodeJS.Process): string {
  const text = error instanceof Error ? error.message : String(error)
  if (!text.includes('uWS.js supports only'))
    return (error instanceof Error ? error.stack : undefined) ?? text
  const cause = text
    .trim()
    .split('\n')
    .at(-1)!
    .replace(/^Error: /, '')
  const here = `Node ${versions.node}, ${platform} ${arch}`
  const remedy =
    'on Linux, Node 20 takes glibc 2.27, and newer ones glibc 2.38, as Debian 13 and Ubuntu 24.04 have it'
  return `uWebSockets.js has no binary that loads here (${here}): ${cause}; ${remedy}`
}

import { expect, test } from 'vitest'
import { whyUnloadable } from './unloadable.ts'

test('a machine for which uWebSockets.js has no binary is told which it takes, in one line', () => {
  const cause =
    '/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38’ not found (required by uws_linux_x64_127.node)'
  const error = new Error(
    `This version of uWS.js supports only Node.js versions 16 to 25.\n\nError: ${cause}`,
  )

  const why = whyUnloadable(error, {
    versions: { node: '22.1.0' },
    platform: 'linux',
    arch: 'x64',
  } as NodeJS.Process)

  expect(why).toBe(
    `uWebSockets.js has no binary that loads here (Node 22.1.0, linux x64): ${cause}; on Linux, Node 20 takes glibc 2.27, ` +
      'and newer ones glibc 2.38, as Debian 13 and Ubuntu 24.04 have it',
  )
})

test('whatever else keeps the program from loading is a bug, and told with its stack', () => {
  const bug = new TypeError('x is not a function')

  expect(whyUnloadable(bug, process)).toBe(bug.stack)
})

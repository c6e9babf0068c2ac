/**
 * acebase FOLDER PORT: acebase-server without accounts, so that everyone may read and write.
 */
import { AceBaseServer } from 'acebase-server'

const [folder, port] = process.argv.slice(2)
new AceBaseServer('bench', {
  host: '127.0.0.1',
  port: Number(port),
  path: folder,
  logLevel: 'error',
  authentication: { enabled: false },
})

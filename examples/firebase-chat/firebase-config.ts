/**
 * What Firebase's console prints for a web app. To run on Hearth `databaseURL` is the one line that changes:
 * `ns` names the database.
 */
import type { FirebaseOptions } from 'firebase/app'

export const firebaseConfig: FirebaseOptions = {
  projectId: 'demo-chat',
  databaseURL: 'http://127.0.0.1:9000?ns=demo',
}

/**
 * Browser: Chromium as it is installed here, driven by Playwright, and what a page says of itself.
 */
import { existsSync } from 'node:fs'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'

/** Where systems put it; `CHROMIUM_PATH` names another. */
const PLACES = [
  process.env['CHROMIUM_PATH'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/snap/bin/chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
]

/** The program, or null where there is none. */
export const chromiumPath: string | null =
  PLACES.find((path) => path !== undefined && existsSync(path)) ?? null

export function launchChromium(): Promise<Browser> {
  // Chromium's sandbox refuses to work for root, which is who containers run as.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  return chromium.launch({ executablePath: chromiumPath!, args: [...args, '--disable-dev-shm-usage'] })
}

export interface ChatPage {
  page: Page
  /** Addresses it asked for, WebSockets included. */
  requested: string[]
  /** What went wrong in it that nobody caught. */
  errors: Error[]
  say(text: string): Promise<void>
  shows(selector: string, text: string | RegExp): Promise<void>
  misses(selector: string, text: string): Promise<void>
  /** Ends its process, with no chance to say goodbye. */
  kill(): Promise<void>
}

export async function openChat(context: BrowserContext, address: string): Promise<ChatPage> {
  const page = await context.newPage()
  const requested: string[] = []
  const errors: Error[] = []
  page.on('request', (request) => void requested.push(request.url()))
  page.on('websocket', (socket) => void requested.push(socket.url()))
  page.on('pageerror', (error) => void errors.push(error))
  await page.goto(address)
  const part = (selector: string, text: string | RegExp) => page.locator(selector, { hasText: text }).first()
  return {
    page,
    requested,
    errors,
    say: async (text) => {
      await page.fill('#text', text)
      await page.press('#text', 'Enter')
    },
    shows: (selector, text) => part(selector, text).waitFor(),
    misses: (selector, text) => part(selector, text).waitFor({ state: 'detached' }),
    kill: async () => {
      const devtools = await context.newCDPSession(page)
      const crashed = page.waitForEvent('crash')
      // Never answered: who would answer is dead.
      devtools.send('Page.crash').catch(() => {})
      await crashed
    },
  }
}

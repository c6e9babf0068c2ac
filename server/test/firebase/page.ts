/**
 * Page: as much of a browser as Firebase's SDK needs for long polling. Frames, and scripts that are loaded into them
 * and call back into the page.
 */
import { createContext, runInContext } from 'node:vm'

export interface Page {
  /** Addresses of the scripts and frames that were loaded. */
  readonly loaded: string[]
  /** Takes the page away, and with it what it put into the global scope. */
  leave(): void
}

export function openPage(): Page {
  const loaded: string[] = []
  const body = {
    appendChild(frame: Frame) {
      frame.parentNode = body
      if (frame.src !== '') void frame.load()
    },
    removeChild: (frame: Frame) => frame.removed(),
  }

  /** A frame that scripts are loaded into, or one with a page of its own. */
  class Frame {
    readonly style = {}
    src = ''
    parentNode: unknown = null
    readonly #scope = createContext({ parent: { window: globalThis } })
    #farewell: Promise<string> | null = null

    readonly contentWindow = { document: {} }
    readonly contentDocument = {
      open() {},
      write() {},
      close() {},
      createElement: () => ({ src: '', parentNode: null }),
      body: {
        textContent: '',
        appendChild: (script: Script) => void this.#run(script),
      },
    }

    async #run(script: Script): Promise<void> {
      loaded.push(script.src)
      try {
        const response = await fetch(script.src)
        const text = await response.text()
        if (!response.ok) throw new Error(text)
        runInContext(text, this.#scope)
      } catch {
        script.onerror?.()
        return
      }
      script.onload?.()
    }

    load(): Promise<string> {
      loaded.push(this.src)
      this.#farewell = fetch(this.src).then((response) => response.text())
      return this.#farewell
    }

    removed(): void {
      const { src } = this
      void this.#farewell?.then((html) => {
        const url = JSON.parse(/url=("[^"]*")/.exec(html)![1]!) as string
        return fetch(new URL(url, src))
      })
    }
  }

  const globals: Record<string, unknown> = {
    window: globalThis,
    document: { readyState: 'complete', body, createElement: () => new Frame() },
  }
  Object.assign(globalThis, globals)
  return {
    loaded,
    leave() {
      for (const name of Object.keys(globals)) Reflect.deleteProperty(globalThis, name)
    },
  }
}

interface Script {
  src: string
  onload?: (() => void) | null
  onerror?: () => void
}

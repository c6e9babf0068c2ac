/**
 * A bar chart as SVG: one bar for each system, labelled with its number, readable on light and dark pages.
 */
export interface Bar {
  label: string
  value: number
  /** Drawn in the accent colour. */
  isHearth: boolean
}

const WIDTH = 720
const LABEL_WIDTH = 270
const NUMBER_WIDTH = 90
const ROW = 24
const TOP = 52

/** @param unit What the numbers count. The longest bar comes first. */
export function barChart(title: string, unit: string, bars: readonly Bar[]): string {
  const sorted = [...bars].sort((a, b) => b.value - a.value)
  const longest = sorted[0]?.value ?? 1
  const height = TOP + sorted.length * ROW + 8
  const rows = sorted.map((bar, i) => {
    const y = TOP + i * ROW
    const width = Math.max(1, (bar.value / longest) * (WIDTH - LABEL_WIDTH - NUMBER_WIDTH))
    const number = Math.round(bar.value).toLocaleString('en-US')
    return [
      `<text x="${LABEL_WIDTH - 8}" y="${y + 14}" text-anchor="end">${escapeText(bar.label)}</text>`,
      `<rect class="${bar.isHearth ? 'hearth' : 'other'}" x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="18" rx="2"/>`,
      `<text x="${(LABEL_WIDTH + width + 6).toFixed(1)}" y="${y + 14}">${number}</text>`,
    ].join('\n')
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">
<title>${escapeText(title)}</title>
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.hearth { fill: #d9480f }
.other { fill: #8c959f }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .hearth { fill: #ff922b } .other { fill: #6e7681 } }
</style>
<text class="title" x="8" y="20">${escapeText(title)}</text>
<text x="8" y="40">${escapeText(unit)}</text>
${rows.join('\n')}
</svg>
`
}

function escapeText(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;')
}

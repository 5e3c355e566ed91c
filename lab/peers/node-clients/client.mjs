// Sends requests without end, to each target in turn, like the Rust clients:
//   node client.mjs undici|http TARGETS IN_FLIGHT MAX_TOTAL
// TARGETS is a file with one URL per line; MAX_TOTAL is 0 for no limit. The first failure ends the program.
import fs from 'node:fs'
import http from 'node:http'

const BODY_BYTES = 1024
const [kind, file, inFlightText, maxTotalText] = process.argv.slice(2)
const targets = fs.readFileSync(file, 'utf8').split('\n').filter(Boolean)
const [inFlight, maxTotal] = [Number(inFlightText), Number(maxTotalText)]

// undici has limits per origin, but none for all together; pipelining 1 means one request at a time on a connection.
async function undici () {
  const { Agent, request } = await import('undici')
  const dispatcher = new Agent({ connections: inFlight, pipelining: 1, keepAliveTimeout: 60_000 })
  return async url => {
    const { statusCode, body } = await request(url, { dispatcher, headers: { 'user-agent': 'lab/1', accept: '*/*' } })
    if (statusCode !== 200) throw new Error(`status ${statusCode}`)
    return (await body.arrayBuffer()).byteLength
  }
}

// The targets are parsed once: http.get would parse the URL of each request.
function nodeHttp () {
  const agent = new http.Agent({
    keepAlive: true,
    maxSockets: inFlight,
    ...(maxTotal > 0 ? { maxTotalSockets: maxTotal } : {})
  })
  const options = new Map(targets.map(target => {
    const { hostname, port, pathname } = new URL(target)
    return [target, { agent, hostname, port, path: pathname, headers: { 'user-agent': 'lab/1', accept: '*/*' } }]
  }))
  return url => new Promise((resolve, reject) => {
    const request = http.get(options.get(url), response => {
      if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`))
      let length = 0
      response.on('data', chunk => { length += chunk.length })
      response.on('end', () => resolve(length))
      response.on('error', reject)
    })
    request.on('error', reject)
  })
}

const ask = kind === 'undici' ? await undici() : nodeHttp()
let turn = 0
async function lane () {
  for (;;) {
    const length = await ask(targets[turn++ % targets.length])
    if (length !== BODY_BYTES) throw new Error(`an answer of ${length} bytes`)
  }
}
try {
  await Promise.all(Array.from({ length: inFlight }, lane))
} catch (error) {
  console.error(error)
  process.exit(1)
}

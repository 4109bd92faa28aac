// Runs the Firestore emulator on a free port of the loopback interface until standard input ends. Its own start() takes
// all interfaces and does not tell the port.
const {ServerCredentials} = require('@grpc/grpc-js')
const {FirestoreServer} = require('@firestore-emulator/server')

new FirestoreServer().server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (err, port) => {
  if (err) throw err
  console.log(port)
})
process.stdin.resume().on('end', () => process.exit(0))

// bbolt as a durable queue: the store under the OpenTelemetry Collector's file_storage. `spool_peers FILE WAITERS RECORDS`
// prints records a second. DB.Batch commits what all waiters have put within MaxBatchDelay in one transaction, with its
// sync, which is what bbolt has for this case.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

func main() {
	if len(os.Args) != 4 {
		panic("spool_peers FILE WAITERS RECORDS")
	}
	waiters, err := strconv.Atoi(os.Args[2])
	check(err)
	records, err := strconv.Atoi(os.Args[3])
	check(err)
	db, err := bolt.Open(os.Args[1], 0o600, nil)
	check(err)
	db.MaxBatchSize = waiters
	db.MaxBatchDelay = time.Millisecond
	check(db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("q"))
		return err
	}))
	var all sync.WaitGroup
	each := records / waiters
	began := time.Now()
	for waiter := range waiters {
		all.Add(1)
		go func() {
			defer all.Done()
			payload := make([]byte, 256)
			for range each {
				binary.LittleEndian.PutUint64(payload, uint64(waiter))
				check(db.Batch(func(tx *bolt.Tx) error {
					bucket := tx.Bucket([]byte("q"))
					seq, err := bucket.NextSequence()
					if err != nil {
						return err
					}
					key := make([]byte, 8)
					binary.BigEndian.PutUint64(key, seq)
					return bucket.Put(key, payload)
				}))
			}
		}()
	}
	all.Wait()
	fmt.Printf("%.0f\n", float64(each*waiters)/time.Since(began).Seconds())
	check(db.Close())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

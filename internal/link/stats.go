package link

// Stats counts, since Open, what one Conn received and sent and why it lost what
// it lost. All are numbers of packets unless said otherwise.
type Stats struct {
	Received          uint64 // handed out by Receive
	ReceiveTruncated  uint64 // longer than the longest VRRP message; dropped
	ReceiveMalformed  uint64 // a broken or cut IP header; dropped
	ReceiveOverflow   uint64 // dropped by the kernel because the receive buffer was full
	ReceiveErrors     uint64 // reads of any of the sockets that failed (calls)
	Surveyed          uint64 // refused by the receive filter and handed out by Survey
	SurveyTruncated   uint64 // as ReceiveTruncated, of the survey socket
	SurveyMalformed   uint64 // as ReceiveMalformed, of the survey socket
	SurveyOverflow    uint64 // refused by the receive filter and, over the survey's rate, never read
	SurveyPauses      uint64 // times the survey went over its rate
	Announcements     uint64 // gratuitous ARPs and unsolicited NAs handed out
	AnnouncementsOwn  uint64 // of those, sent by this interface itself; skipped
	AnnouncementsLost uint64 // dropped by the kernel because nobody read them in time
	Sent              uint64 // taken by the kernel
	SendDeferred      uint64 // times that Flush left messages for later because the kernel's buffer was full (calls)
	SendDropped       uint64 // dropped because the queue was full
	SendFailed        uint64 // dropped because the kernel refused them
}
